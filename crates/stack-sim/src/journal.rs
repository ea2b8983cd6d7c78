//! A journal that a crash can hit.

use stack_engine::{JournalError, JournalStore, MemoryJournal, Survives};
use stack_model::ProjectName;

use crate::world::SharedWorld;

/// A journal in memory whose every save is a point at which the world may crash: before it or after it.
#[derive(Debug)]
pub struct SimJournal {
    world: SharedWorld,
    kept: MemoryJournal,
}

impl SimJournal {
    /// Saves to `kept` for as long as `world` lives.
    pub fn new(world: SharedWorld, kept: MemoryJournal) -> Self {
        Self { world, kept }
    }
}

impl JournalStore for SimJournal {
    fn project(&self) -> &ProjectName {
        self.kept.project()
    }

    fn instance(&self) -> &str {
        self.kept.instance()
    }

    fn load(&mut self) -> Result<Option<String>, JournalError> {
        self.kept.load()
    }

    fn save(&mut self, text: &str, survives: Survives) -> Result<(), JournalError> {
        let mut world = self.world.borrow_mut();
        world.saves += 1;
        if world.is_past_point() {
            return Ok(());
        }
        if world.disk_full {
            return Err(JournalError::Write(std::io::ErrorKind::StorageFull.into()));
        }
        self.kept.save(text, survives)?;
        // Nothing of this life has an effect after the crash; that it learns of it late does not matter.
        world.is_past_point();
        Ok(())
    }
}
