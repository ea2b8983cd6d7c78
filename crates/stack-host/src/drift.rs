//! Noticing that the network was changed by someone else.

use std::time::Duration;

use stack_engine::Wake;

use crate::host::Shared;

/// Own operations cause notices too; a burst of them is one reason to look.
const QUIET: Duration = Duration::from_millis(50);

/// Marks the network as worth a look after every burst of netlink notices.
pub(crate) async fn watch_network(shared: Shared) {
    let mut notices = match shared.kit.net.watch() {
        Ok(notices) => notices,
        // Without notices the periodic full look finds what changed.
        Err(error) => {
            let text = format!("changes of the network are noticed late: {}", crate::failure::failed(error));
            return shared.wake(Wake::Tell(stack_model::Event::Warning { text }));
        }
    };
    while notices.recv().await.is_some() {
        tokio::time::sleep(QUIET).await;
        // Which change it was does not matter, nor whether the kernel dropped some: the look is a whole one.
        while notices.try_recv().is_ok() {}
        shared.world.borrow_mut().network_stale = true;
        shared.wake(Wake::Dirty);
    }
}
