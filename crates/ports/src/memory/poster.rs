//! Posts in memory.

use crate::{Post, Posted, Poster};
use async_trait::async_trait;
use parking_lot::Mutex;
use std::collections::VecDeque;

/// Keeps what it was given, and answers as it is told to.
#[derive(Default)]
pub struct MemoryPoster {
    outcomes: Mutex<VecDeque<Posted>>,
    posts: Mutex<Vec<Post>>,
}

impl MemoryPoster {
    /// The next attempt ends like this; when no outcome is left, attempts succeed.
    pub fn next(&self, outcome: Posted) {
        self.outcomes.lock().push_back(outcome);
    }

    /// What was posted so far, whatever became of it.
    pub fn posts(&self) -> Vec<Post> {
        self.posts.lock().clone()
    }
}

#[async_trait]
impl Poster for MemoryPoster {
    async fn post(&self, post: &Post) -> Posted {
        self.posts.lock().push(post.clone());
        self.outcomes.lock().pop_front().unwrap_or(Posted::Answered { status: 200, body: "ok".into() })
    }
}
