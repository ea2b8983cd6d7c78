//! Doing one operation. Each is idempotent and decides nothing.

mod container;
mod network;
pub(crate) mod start;
mod stop;

use std::sync::Arc;

use stack_engine::{Changed, Wake};
use stack_model::{Action, Event, Failure, Fault, ImageReference, Key};

pub(crate) use stack_image::SELF_IMAGE;

use crate::failure::failed;
use crate::host::Shared;
use crate::kit::Kit;
use crate::volume;

pub(crate) async fn apply(shared: Shared, key: Key, action: Action) -> Result<Changed, Failure> {
    match action {
        Action::PullImage { image } => pull(&shared, key, image).await,
        Action::EnsureNetwork(plan) => network::ensure(&shared, plan).await,
        Action::RemoveNetwork { bridge } => network::remove(&shared, key, bridge).await,
        Action::EnsureVolume(plan) => {
            blocking(&shared, move |kit| volume::ensure_volume(&kit.layout, &plan).map(changed).map_err(failed)).await
        }
        Action::RemoveVolume { name } => {
            blocking(&shared, move |kit| volume::remove_volume(&kit.layout, &name).map(changed).map_err(failed)).await
        }
        Action::CreateContainer(container) => container::create(&shared, *container).await,
        Action::StartContainer { id } => start::start(&shared, id).await,
        Action::RunHooks { id, stage, generation } => crate::hooks::begin(&shared, &id, stage, generation),
        Action::PauseContainer { id } => stop::freeze(&shared, id, true).await,
        Action::UnpauseContainer { id } => stop::freeze(&shared, id, false).await,
        Action::StopContainer { id, signal, grace } => stop::stop(&shared, id, signal, grace).await,
        Action::KillContainer { id } => stop::kill(&shared, id).await,
        Action::RemoveContainer { id } => container::remove(&shared, id).await,
        Action::WriteLimits { id, limits } => container::write_limits(&shared, id, *limits).await,
        Action::UpdateRecord(container) => container::update(&shared, *container).await,
        Action::AttachContainer { id } => network::attach(&shared, id).await,
        Action::ApplyRuleset(ruleset) => network::apply_ruleset(&shared, ruleset).await,
        Action::PublishNames(names) => {
            shared.names.publish(names);
            Ok(Changed::Yes)
        }
    }
}

/// Runs system calls on a worker thread, so that the loop goes on.
pub(crate) async fn blocking<T: Send + 'static>(
    shared: &Shared,
    work: impl FnOnce(&Kit) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let kit = Arc::clone(&shared.kit);
    let done = tokio::task::spawn_blocking(move || work(&kit)).await;
    done.unwrap_or_else(|panic| Err(Failure::new(Fault::Bug, format!("an operation panicked: {panic}"))))
}

pub(crate) fn changed(changed: bool) -> Changed {
    if changed { Changed::Yes } else { Changed::No }
}

async fn pull(shared: &Shared, key: Key, image: ImageReference) -> Result<Changed, Failure> {
    if image.as_str() == SELF_IMAGE {
        return blocking(shared, |kit| kit.store.ensure_self_image(&kit.binary).map(|_| Changed::Yes).map_err(failed))
            .await;
    }
    let sender = shared.wake_sender();
    let progress = move |progress: stack_image::Progress| {
        let event =
            Event::Progress { key: key.clone(), text: progress.text, done: progress.done, total: progress.total };
        drop(sender.send(Wake::Tell(event)));
    };
    shared.kit.store.pull(&image, &progress).await.map(|_| Changed::Yes).map_err(failed)
}
