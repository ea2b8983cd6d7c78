//! Which containers a command makes anew, and whether their dependencies are its business.

use clap::Args;
use stack_model::{Recreate, UpOptions};

/// Options of commands that make containers.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct RecreateArgs {
    /// Replace containers although nothing about them has changed
    #[arg(long)]
    force_recreate: bool,
    /// Leave containers that are there as they are, until the next `up` or save
    #[arg(long, conflicts_with_all = ["force_recreate", "renew_anon_volumes", "always_recreate_deps"])]
    no_recreate: bool,
    /// Replace what the named services depend on too
    #[arg(long, conflicts_with = "no_deps")]
    always_recreate_deps: bool,
    /// Replace containers, and give them new volumes where a volume has no name
    #[arg(short = 'V', long)]
    renew_anon_volumes: bool,
    /// Only the named services, not what they depend on
    #[arg(long)]
    no_deps: bool,
}

impl RecreateArgs {
    /// What follows for the supervisor.
    pub(crate) fn options(&self) -> UpOptions {
        UpOptions {
            recreate: match (self.force_recreate, self.no_recreate) {
                (true, _) => Recreate::All,
                (false, true) => Recreate::None,
                (false, false) => Recreate::Changed,
            },
            recreate_dependencies: self.always_recreate_deps,
            renew_volumes: self.renew_anon_volumes,
            no_deps: self.no_deps,
            ..UpOptions::default()
        }
    }

    /// The named services come alone.
    pub(crate) fn no_deps(&self) -> bool {
        self.no_deps
    }
}
