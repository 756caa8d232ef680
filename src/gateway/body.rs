//! The body of a request: kept where it is short enough to be sent twice, else streamed.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Bytes;
use hyper::body::{Body, Frame, SizeHint};

pub(super) enum Upload<B> {
    /// Any number of times.
    Kept(Bytes),
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

impl<B: Body<Data = Bytes> + Unpin> Upload<B> {
    /// Reads a body to its end unless it is longer than `limit` bytes.
    pub(super) async fn read(mut body: B, limit: usize) -> Result<Self, B::Error> {
        let expected = body.size_hint().lower();
        let is_long = expected > limit as u64;
        // At most `limit`, which fits.
        let mut beginning = Vec::with_capacity(if is_long { 0 } else { expected as usize });
        while !is_long && beginning.len() <= limit {
            let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await else {
                return Ok(Self::Kept(beginning.into()));
            };
            // Trailers are dropped: they concern this connection alone.
            if let Ok(data) = frame?.into_data() {
                beginning.extend_from_slice(&data);
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
            Self::Kept(bytes) => {
                *self = Self::Kept(bytes.clone());
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
        for (limit, is_kept) in [(6, true), (5, false), (3, false), (0, false)] {
            let mut streamed = match Upload::read(pieces(&["abc", "def"]), limit).await.unwrap() {
                Upload::Kept(bytes) => {
                    assert!(is_kept && bytes == "abcdef", "{limit}");
                    continue;
                }
                Upload::Streamed(streamed) => streamed,
                Upload::Sent => panic!("it was not sent"),
            };
            assert!(!is_kept, "{limit}");
            let mut all = Vec::new();
            while let Some(frame) = poll_fn(|cx| Pin::new(&mut streamed).poll_frame(cx)).await {
                all.extend_from_slice(&frame.unwrap().into_data().unwrap());
            }
            assert_eq!(all, b"abcdef", "{limit}");
        }
        assert!(matches!(Upload::read(pieces(&[]), 0).await, Ok(Upload::Kept(empty)) if empty.is_empty()));
    }

    #[tokio::test]
    async fn a_body_that_says_its_length_takes_no_more_memory() {
        let body = Pieces(["a", "bc"].into(), SizeHint::with_exact(3));
        let Upload::Kept(bytes) = Upload::read(body, 100).await.unwrap() else { panic!("it is kept") };
        assert_eq!(Vec::from(bytes).capacity(), 3);
    }

    #[tokio::test]
    async fn a_body_that_says_it_is_long_is_not_read_ahead() {
        let body = Pieces(["abc"].into(), SizeHint::with_exact(3));
        let Upload::Streamed(streamed) = Upload::read(body, 2).await.unwrap() else { panic!("it is streamed") };
        assert_eq!((streamed.beginning.len(), streamed.size_hint().exact()), (0, Some(3)));
    }
}
