//! Notes of enrollments and events: they are added, and never changed.

use super::check::Refusal;
use super::import::Import;
use crate::wire::tracker::Note;
use crate::wire::{date, uid};

impl Import<'_> {
    /// The notes that were there and those that are new. A note whose uid is there already is left out; whoever asks for warnings is told so
    /// if its text is another one. The same note again is a repeat, as after a job whose answer was lost, and nothing to warn of.
    pub(super) fn notes(&mut self, mut known: Vec<Note>, given: Vec<Note>) -> Vec<Note> {
        for mut note in given {
            if note.value.is_empty() {
                continue;
            }
            if note.note.is_empty() {
                note.note = uid::from_random((self.fresh)().as_u128());
            } else if let Some(there) = known.iter().find(|there| there.note == note.note) {
                if self.options.with_warnings && there.value != note.value {
                    let text = format!("Note with uid `{}` already exists.", note.note);
                    self.warnings.push(Refusal::new("E1119", text));
                }
                continue;
            }
            note.stored_at = date::format(self.now);
            known.push(note);
        }
        known
    }
}
