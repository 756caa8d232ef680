//! The network of a story: streams in memory between a process and Redis, which stall and break.

use std::io;

use token_sidecar_client::redis::Dial;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use crate::reply::{Protocol, take_command};
use crate::world::{Answer, Way, World, spawn};

/// How much may be on its way.
const WINDOW: usize = 1 << 18;

/// Opens connections for one process.
pub(crate) fn dial(world: &World, process: usize) -> Dial {
    let world = world.clone();
    Dial::new(move || connect(world.clone(), process))
}

async fn connect(world: World, process: usize) -> io::Result<DuplexStream> {
    let latency = world.state().processes[process].latency;
    tokio::time::sleep(latency).await;
    passage(&world, process).await;
    if world.state().processes[process].way == Way::Cut || !world.is_up() {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    let (ours, theirs) = tokio::io::duplex(WINDOW);
    spawn(serve(world, process, theirs));
    Ok(ours)
}

/// Redis' side of a connection, until either side ends it.
async fn serve(world: World, process: usize, mut stream: DuplexStream) {
    let (id, mut pushes, broken) = world.open_session(process);
    let (mut protocol, mut received) = (Protocol::Resp2, Vec::new());
    let serving = async {
        loop {
            let mut out = Vec::new();
            tokio::select! {
                biased;
                Some(push) = pushes.recv() => {
                    push.write(protocol, &mut out);
                    while let Ok(push) = pushes.try_recv() {
                        push.write(protocol, &mut out);
                    }
                }
                read = stream.read_buf(&mut received) => {
                    if read? == 0 {
                        return io::Result::Ok(());
                    }
                    travel(&world, process).await;
                    while let Some(command) = take_command(&mut received) {
                        if command[0] == b"HELLO" {
                            protocol = Protocol::Resp3;
                        }
                        // What was published before is said before.
                        while let Ok(push) = pushes.try_recv() {
                            push.write(protocol, &mut out);
                        }
                        match world.serve(id, &command) {
                            Answer::Reply(reply) => reply.write(protocol, &mut out),
                            Answer::Subscribed(replies) => replies.iter().for_each(|r| r.write(protocol, &mut out)),
                            Answer::Broken => return Ok(()),
                        }
                    }
                }
            }
            travel(&world, process).await;
            stream.write_all(&out).await?;
        }
    };
    tokio::select! {
        biased;
        () = broken.cancelled() => {}
        _ended = serving => {}
    }
    world.close_session(id);
}

/// The time on the way.
async fn travel(world: &World, process: usize) {
    let latency = world.state().processes[process].latency;
    tokio::time::sleep(latency).await;
    passage(world, process).await;
}

/// Waits while nothing passes.
async fn passage(world: &World, process: usize) {
    world
        .wait(|state| {
            let process = &state.processes[process];
            process.way != Way::Stalled && !process.frozen
        })
        .await;
}
