//! The spawner itself, and what it turns into.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitCode;

use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use stack_sys::{Cloned, Namespaces, SingleThreaded, clone_process};

use super::keeper::Keeper;
use super::wire::{self, Answer, EnterOrders, GoAhead, Own, Request};
use crate::error::StepFailure;
use crate::init::Course;
use crate::spec::InitSpec;
use crate::{enter, init, process};

/// Where the spawner finds its requests.
pub(super) const REQUESTS_DESCRIPTOR: i32 = 3;

/// Serves requests until the supervisor is gone, then keeps what the next one will want.
pub fn spawner_main() -> ExitCode {
    let Some(whole) = SingleThreaded::prove() else { return ExitCode::FAILURE };
    let _ = rustix::thread::set_name(c"stack:spawner");
    let Ok(requests) = stack_sys::take_descriptor(REQUESTS_DESCRIPTOR) else { return ExitCode::FAILURE };
    if leave_behind().is_err() {
        return ExitCode::FAILURE;
    }
    let mut keeper = Keeper::default();
    while let Ok(Some((request, descriptors))) = wire::receive::<Request>(requests.as_fd()) {
        serve(request, descriptors, &mut keeper, whole);
    }
    drop(requests);
    match keeper.wait_for_heir() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Lets go of what came with the supervisor and is none of a container's business: descriptors, streams, directory,
/// and a protection from the out-of-memory killer.
fn leave_behind() -> io::Result<()> {
    stack_sys::close_from(REQUESTS_DESCRIPTOR + 1);
    process::silence_streams()?;
    rustix::process::chdir("/")?;
    // To have less protection than before is always allowed.
    drop(fs_err::write("/proc/self/oom_score_adj", "0"));
    Ok(())
}

/// Serves one request; what goes wrong is told to whoever asked.
fn serve(request: Request, descriptors: Vec<OwnedFd>, keeper: &mut Keeper, whole: SingleThreaded) {
    let mut descriptors = descriptors.into_iter();
    match request {
        Request::Keep { run, pid } => keeper.keep(run, pid, descriptors.next()),
        Request::Release { run } => keeper.release(&run),
        Request::Start { .. } | Request::Enter { .. } => {
            let (Some(orders), Some(answers)) = (descriptors.next(), descriptors.next()) else { return };
            if let Err(error) = make(request, (&orders, &answers), descriptors, keeper, whole) {
                fail(&answers, StepFailure::new("clone", "a process", error));
            }
        }
    }
}

/// Makes a process.
fn make(
    request: Request,
    (orders, answers): (&OwnedFd, &OwnedFd),
    mut further: std::vec::IntoIter<OwnedFd>,
    keeper: &mut Keeper,
    whole: SingleThreaded,
) -> io::Result<()> {
    let Request::Start { netns, pid_of, ipc_of, own, into_cgroup, streams, keep } = request else {
        return pass(orders, answers, further, whole);
    };
    let mut next = |given: bool| if given { further.next() } else { None };
    let given = Given {
        netns: next(netns),
        pid_of: next(pid_of),
        ipc_of: next(ipc_of),
        cgroup: next(into_cgroup),
        streams: if streams { further.collect() } else { Vec::new() },
    };
    let Own { pid, ipc, uts } = own;
    let namespaces = Namespaces { pid, mount: true, uts, ipc, ..Namespaces::default() };
    let (pid, pidfd) = start(orders, answers, given, namespaces, whole)?;
    if let Some(run) = keep {
        keeper.keep(run, pid, Some(pidfd));
    }
    Ok(())
}

fn fail(answers: &OwnedFd, failure: StepFailure) {
    // A supervisor that is gone does not want to know.
    drop(wire::send(answers.as_fd(), &Answer::Failed(failure), &[]));
}

/// The descriptors that a container is started with.
struct Given {
    netns: Option<OwnedFd>,
    pid_of: Option<OwnedFd>,
    ipc_of: Option<OwnedFd>,
    cgroup: Option<OwnedFd>,
    streams: Vec<OwnedFd>,
}

/// Clones a process among those of a container, if there is one: whoever joins a process namespace stays outside of it,
/// and only the children are inside (setns(2)).
fn clone_among(
    peer: Option<&OwnedFd>,
    namespaces: Namespaces,
    cgroup: Option<BorrowedFd<'_>>,
    whole: SingleThreaded,
) -> io::Result<Cloned> {
    let Some(peer) = peer else { return clone_process(whole, namespaces, true, cgroup) };
    let own = rustix::fs::open("/proc/self/ns/pid", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let pids = Some(LinkNameSpaceType::ProcessID);
    move_into_link_name_space(peer.as_fd(), pids)?;
    let cloned = clone_process(whole, namespaces, true, cgroup);
    if !matches!(cloned, Ok(Cloned::Child)) && move_into_link_name_space(own.as_fd(), pids).is_err() {
        // The next container would be born among these processes.
        std::process::abort();
    }
    cloned
}

fn start(
    orders: &OwnedFd,
    answers: &OwnedFd,
    given: Given,
    namespaces: Namespaces,
    whole: SingleThreaded,
) -> io::Result<(u32, OwnedFd)> {
    let Given { netns, pid_of, ipc_of, cgroup, streams } = given;
    match clone_among(pid_of.as_ref(), namespaces, cgroup.as_ref().map(AsFd::as_fd), whole)? {
        Cloned::Parent { pid, pidfd } => {
            wire::send(answers.as_fd(), &Answer::Spawned(pid), &[pidfd.as_fd()])?;
            Ok((pid, pidfd))
        }
        Cloned::Child => {
            let may_go = || matches!(wire::receive::<GoAhead>(answers.as_fd()), Ok(Some(_)));
            drop((cgroup, pid_of));
            let taken = take_streams(&streams).and_then(|()| wire::unpack::<InitSpec>(orders));
            let taken = taken.map_err(|error| StepFailure::new("read", "the orders", error));
            let taken = taken.and_then(|init| init::join_cgroups(&init.cgroup_tasks).map(|()| init));
            let taken = taken.and_then(|init| {
                let shm = ipc_of.as_ref().map(init::shared_memory_of).transpose()?;
                Ok((init, shm))
            });
            fail(
                answers,
                match taken {
                    Ok((init, shm)) => {
                        let network = netns.map(|netns| (netns, LinkNameSpaceType::Network));
                        let ipc = ipc_of.map(|peer| (peer, LinkNameSpaceType::InterProcessCommunication));
                        let joined: Vec<_> = network.into_iter().chain(ipc).collect();
                        let course = Course {
                            joined: &joined,
                            prepared: &[],
                            shm: shm.as_ref(),
                            pid: None,
                            mounted: &|| Ok(()),
                            terminal: &|_| Ok(()),
                            may_go: &may_go,
                        };
                        init::run(&init, &course, whole)
                    }
                    Err(failure) => failure,
                },
            );
            stack_sys::end_process(1)
        }
    }
}

/// Makes somebody's streams the standard ones; those of the spawner stay where there are none.
fn take_streams(streams: &[OwnedFd]) -> io::Result<()> {
    let [input, output, error] = streams else { return Ok(()) };
    Ok(process::replace_streams([input, output, error])?)
}

/// A process that joins another process namespace stays outside of it; its children are inside (setns(2)). So one
/// process goes in and a second one, its sibling, is the wanted one.
fn pass(
    orders: &OwnedFd,
    answers: &OwnedFd,
    mut further: std::vec::IntoIter<OwnedFd>,
    whole: SingleThreaded,
) -> io::Result<()> {
    let (Some(container), Some(output)) = (further.next(), further.next()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let cgroup = further.next();
    match clone_process(whole, Namespaces::default(), true, cgroup.as_ref().map(AsFd::as_fd))? {
        Cloned::Parent { pid, pidfd } => wire::send(answers.as_fd(), &Answer::Passing(pid), &[pidfd.as_fd()]),
        Cloned::Child => {
            let orders = wire::unpack::<EnterOrders>(orders);
            let led = orders
                .map_err(|error| StepFailure::new("read", "the orders", error))
                .and_then(|orders| go_in(&orders, answers, &container, &output, whole));
            if let Err(failure) = led {
                fail(answers, failure);
            }
            stack_sys::end_process(0)
        }
    }
}

fn go_in(
    orders: &EnterOrders,
    answers: &OwnedFd,
    container: &OwnedFd,
    output: &OwnedFd,
    whole: SingleThreaded,
) -> Result<(), StepFailure> {
    enter::join(container.as_fd(), &orders.cgroup_tasks)?;
    let cloned = clone_process(whole, Namespaces::default(), true, None)
        .map_err(|error| StepFailure::new("clone", "a process", error))?;
    match cloned {
        Cloned::Parent { pid, pidfd } => wire::send(answers.as_fd(), &Answer::Spawned(pid), &[pidfd.as_fd()])
            .map_err(|error| StepFailure::new("tell", "the supervisor", error)),
        Cloned::Child => {
            let failure = enter::become_program(&orders.process, Some(output.as_fd()), 3);
            fail(answers, failure);
            stack_sys::end_process(126)
        }
    }
}
