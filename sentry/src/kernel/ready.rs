//! Tasks whose wait has ended and whose handler is to be called again, by whichever worker comes first.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use super::task::Task;

#[derive(Default)]
pub struct ReadyList(Mutex<VecDeque<Arc<Task>>>);

impl ReadyList {
    pub fn push(&self, task: Arc<Task>) {
        self.0.lock().push_back(task);
    }
    pub fn pop(&self) -> Option<Arc<Task>> {
        self.0.lock().pop_front()
    }
}
