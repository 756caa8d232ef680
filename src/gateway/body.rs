//! The body of a request: kept where it is short enough to be sent twice, else streamed.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(super) enum Upload<B> {
    /// Any number of times.
    Kept(Bytes, Share),
    /// Once.
    Streamed(Streamed<B>),
    /// It was streamed.
    Sent,
}

/// A body whose beginning was read already.
pub(super) struct Streamed<B> {
    beginning: Bytes,
    rest: B,
}

/// The memory of all bodies that are kept.
pub(super) struct Memory(Arc<Semaphore>);

/// What one body takes of it, in bytes.
#[derive(Default)]
pub(super) struct Share(Option<OwnedSemaphorePermit>);

impl Memory {
    pub(super) fn of(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes)))
    }

    /// Makes a share as large as `bytes`, if there is room.
    fn grow(&self, share: &mut Share, bytes: u64) -> bool {
        let more = bytes.saturating_sub(share.0.as_ref().map_or(0, |held| held.num_permits() as u64));
        let more = u32::try_from(more).ok().and_then(|more| Arc::clone(&self.0).try_acquire_many_owned(more).ok());
        let fits = more.is_some();
        match (&mut share.0, more) {
            (Some(held), Some(more)) => held.merge(more),
            (held @ None, more) => *held = more,
            (Some(_), None) => {}
        }
        fits
    }
}

impl<B: Body<Data = Bytes> + Unpin> Upload<B> {
    /// Reads a body to its end, unless it is longer than `limit` bytes or there is no room for it.
    pub(super) async fn read(mut body: B, limit: usize, memory: &Memory) -> Result<Self, B::Error> {
        let (expected, mut share) = (body.size_hint().lower(), Share::default());
        let (mut is_kept, mut beginning) = (expected <= limit as u64, Vec::new());
        while is_kept {
            let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await else {
                return Ok(Self::Kept(beginning.into(), share));
            };
            // Trailers are dropped: they concern this connection alone.
            if let Ok(data) = frame?.into_data() {
                if beginning.is_empty() {
                    // At most `limit`, which fits. What has not arrived takes no memory yet.
                    beginning.reserve_exact(expected as usize);
                }
                beginning.extend_from_slice(&data);
                is_kept = beginning.len() <= limit && memory.grow(&mut share, beginning.len() as u64);
            }
        }
        Ok(Self::Streamed(Streamed { beginning: beginning.into(), rest: body }))
    }
}

impl<B> Upload<B>
where
    B: Body<Data = Bytes> + Send + Sync + Unpin + 'static,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    /// What is sent next.
    pub(super) fn take(&mut self) -> reqwest::Body {
        match std::mem::replace(self, Self::Sent) {
            Self::Kept(bytes, share) => {
                *self = Self::Kept(bytes.clone(), share);
                bytes.into()
            }
            Self::Streamed(streamed) => reqwest::Body::wrap(streamed),
            Self::Sent => reqwest::Body::default(),
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Streamed<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if !self.beginning.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.beginning)))));
        }
        Pin::new(&mut self.rest).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.beginning.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (read, rest) = (self.beginning.len() as u64, self.rest.size_hint());
        rest.exact().map_or_else(SizeHint::default, |rest| SizeHint::with_exact(rest + read))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;

    use super::super::trial::Silent;
    use super::*;

    /// A body that comes in these pieces.
    struct Pieces(VecDeque<&'static str>, SizeHint);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(Bytes::from(piece)))))
        }

        fn size_hint(&self) -> SizeHint {
            self.1
        }
    }

    fn pieces(pieces: &[&'static str]) -> Pieces {
        Pieces(pieces.iter().copied().collect(), SizeHint::default())
    }

    #[tokio::test]
    async fn a_body_up_to_the_limit_is_kept_and_a_longer_one_streamed_whole() {
        for (limit, room, is_kept) in
            [(6, 6, true), (5, 6, false), (3, 6, false), (0, 6, false), (6, 5, false), (6, 0, false)]
        {
            let memory = Memory::of(room);
            let mut streamed = match Upload::read(pieces(&["abc", "def"]), limit, &memory).await.unwrap() {
                Upload::Kept(bytes, _share) => {
                    assert!(is_kept && bytes == "abcdef" && memory.0.available_permits() == 0, "{limit} {room}");
                    continue;
                }
                Upload::Streamed(streamed) => streamed,
                Upload::Sent => panic!("it was not sent"),
            };
            assert!(!is_kept && memory.0.available_permits() == room, "{limit} {room}");
            let mut all = Vec::new();
            while let Some(frame) = poll_fn(|cx| Pin::new(&mut streamed).poll_frame(cx)).await {
                all.extend_from_slice(&frame.unwrap().into_data().unwrap());
            }
            assert_eq!(all, b"abcdef", "{limit} {room}");
        }
        let empty = Upload::read(pieces(&[]), 0, &Memory::of(0)).await;
        assert!(matches!(empty, Ok(Upload::Kept(empty, _)) if empty.is_empty()));
    }

    #[tokio::test]
    async fn bodies_that_are_kept_share_their_memory_as_they_arrive() {
        let (memory, said) = (Memory::of(10), |length| Pieces(["abcdef"].into(), SizeHint::with_exact(length)));
        let first = Upload::read(said(6), 6, &memory).await.unwrap();
        assert!(matches!(Upload::read(said(6), 6, &memory).await.unwrap(), Upload::Streamed(_)));
        drop(first);
        assert!(matches!(Upload::read(said(6), 6, &memory).await.unwrap(), Upload::Kept(..)));
        let mut waiting = std::pin::pin!(Upload::read(Silent, 10, &memory));
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        assert_eq!(memory.0.available_permits(), 10, "a client that sends nothing takes none");
    }

    #[tokio::test]
    async fn a_body_that_says_its_length_takes_no_more_memory() {
        let body = Pieces(["a", "bc"].into(), SizeHint::with_exact(3));
        let Upload::Kept(bytes, _) = Upload::read(body, 100, &Memory::of(100)).await.unwrap() else {
            panic!("it is kept")
        };
        assert_eq!(Vec::from(bytes).capacity(), 3);
    }

    #[tokio::test]
    async fn a_body_that_says_it_is_long_is_not_read_ahead() {
        let body = Pieces(["abc"].into(), SizeHint::with_exact(3));
        let Upload::Streamed(streamed) = Upload::read(body, 2, &Memory::of(100)).await.unwrap() else {
            panic!("it is streamed")
        };
        assert_eq!((streamed.beginning.len(), streamed.size_hint().exact()), (0, Some(3)));
    }
}
