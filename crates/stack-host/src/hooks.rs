//! Hooks: programs inside a container, one after the other, and what became of them.

use std::os::fd::{AsFd, OwnedFd};

use stack_engine::{Changed, Wake};
use stack_model::{ContainerId, Failure, Fault, Hook, HookState, Hooks, Stage};
use stack_runtime::ExecOptions;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use crate::exits::wait_end;
use crate::host::Shared;
use crate::inside::{self, Inside, text};
use crate::task::Task;

/// What is kept of the end of a hook's output, for its error.
const TAIL_BYTES: usize = 1024;

/// Begins the hooks of a stage. They go on by themselves; [`stack_model::ObservedContainer::hooks`] says how far.
pub(crate) fn begin(shared: &Shared, id: &ContainerId, stage: Stage, generation: u64) -> Result<Changed, Failure> {
    let mut world = shared.world.borrow_mut();
    let running = world.containers.get_mut(id).filter(|resident| resident.is_running());
    let Some(resident) = running else {
        return Err(Failure::new(Fault::Transient, format!("container {} does not run", id.short())));
    };
    if *resident.hooks.of(stage) == HookState::Running {
        return Ok(Changed::No);
    }
    *resident.hooks.of_mut(stage) = HookState::Running;
    let hooks = resident.container.spec.hooks(stage).to_vec();
    let (shared, id) = (shared.clone(), id.clone());
    resident.hooking = Some(Task::spawn(async move {
        let state = match run_all(&shared, &id, &hooks).await {
            Ok(()) => HookState::Done { generation },
            Err(text) => HookState::Failed { generation, text: format!("{stage} {text}") },
        };
        note(&shared, &id, stage, state);
    }));
    Ok(Changed::Yes)
}

fn note(shared: &Shared, id: &ContainerId, stage: Stage, state: HookState) {
    {
        let mut world = shared.world.borrow_mut();
        let Some(resident) = world.containers.get_mut(id).filter(|resident| resident.is_running()) else { return };
        *resident.hooks.of_mut(stage) = state;
        // Without the record a later supervisor runs them once more.
        drop(stack_runtime::record_hooks(&shared.kit.layout, &shared.kit.project, id, &resident.hooks));
    }
    shared.wake(Wake::Dirty);
}

/// What a supervisor before this one has written down. What ran then has nobody who waits for it, and is run again.
pub(crate) fn recorded(kit: &crate::kit::Kit, id: &ContainerId) -> Hooks {
    stack_runtime::recorded_hooks(&kit.layout, &kit.project, id)
}

async fn run_all(shared: &Shared, id: &ContainerId, hooks: &[Hook]) -> Result<(), String> {
    for hook in hooks {
        let line = hook.command.join(" ");
        let (code, output) =
            run_one(shared, id, hook).await.map_err(|text| format!("`{line}` cannot be run: {text}"))?;
        if code != 0 {
            let tail = String::from_utf8_lossy(&output);
            let said = tail.trim_end().lines().next_back().map_or(String::new(), |last| format!(": {last}"));
            return Err(format!("`{line}` exited with code {code}{said}"));
        }
    }
    Ok(())
}

/// Runs one program to its end: its exit code and the end of its output. All of the output goes to the container's log.
async fn run_one(shared: &Shared, id: &ContainerId, hook: &Hook) -> Result<(i32, Vec<u8>), String> {
    let kit = &shared.kit;
    let has_terminal = {
        let world = shared.world.borrow();
        world.containers.get(id).ok_or("the container is gone")?.container.spec.tty
    };
    // A terminal is read instead of this pipe, so nobody would empty it.
    let log = if has_terminal { None } else { stack_runtime::open_output(&kit.layout, &kit.project, id).ok() };
    let options = ExecOptions {
        argv: hook.command.clone(),
        env: hook.environment.clone().into_iter().collect(),
        user: hook.user.clone(),
        cwd: hook.working_dir.clone(),
        privileged: hook.privileged,
        ..ExecOptions::default()
    };
    let Inside { pidfd, output: mut reader } = inside::start(shared, id, options).await?;
    let mut output = Output { log: log.map(|(stdout, _)| stdout), tail: Vec::new() };
    tokio::select! {
        ended = wait_end(&pidfd) => ended.map_err(text)?,
        // A program that closes its output may still run.
        () = output.follow(&mut reader) => wait_end(&pidfd).await.map_err(text)?,
    }
    output.drain(&reader);
    Ok((stack_runtime::exit_of(pidfd.as_fd()).shell_code(), output.tail))
}

/// Where the output of a hook goes.
struct Output {
    /// The pipe that the container's log is read from.
    log: Option<OwnedFd>,
    tail: Vec<u8>,
}

impl Output {
    async fn follow(&mut self, reader: &mut pipe::Receiver) {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = reader.read(&mut bytes).await {
            self.take(&bytes[..count]);
        }
    }

    /// What is there, when nobody is waited for any more.
    fn drain(&mut self, reader: &pipe::Receiver) {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = reader.try_read(&mut bytes) {
            self.take(&bytes[..count]);
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        if let Some(log) = &self.log {
            // A full pipe has lost its reader, and the hook must not wait for that.
            let _ = rustix::io::write(log, bytes);
        }
        self.tail.extend_from_slice(bytes);
        let old = self.tail.len().saturating_sub(TAIL_BYTES);
        self.tail.drain(..old);
    }
}
