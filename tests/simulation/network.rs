//! The network of a story: in-memory streams between a process and Redis that can stall and break.

use std::io;

use token_sidecar_client::redis::Dial;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use crate::reply::{Protocol, take_command};
use crate::world::{Answer, Way, World, spawn};

/// Bytes that may be in transit.
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

/// Serves Redis' side of a connection until either side closes it.
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
                        // Messages published before the command come before its reply.
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

/// The latency.
async fn travel(world: &World, process: usize) {
    let latency = world.state().processes[process].latency;
    tokio::time::sleep(latency).await;
    passage(world, process).await;
}

/// Waits while the connection is stalled.
async fn passage(world: &World, process: usize) {
    world
        .wait(|state| {
            let process = &state.processes[process];
            process.way != Way::Stalled && !process.frozen
        })
        .await;
}
