//! What is going to happen, in the order of its time, and of its making where times are equal.
//!
//! Events are large and a heap moves what it holds, so the heap has their places only.

use super::world::Event;
use base::NodeId;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// When, the how-manyth, to whom, and where the event is kept.
type Due = (u64, u64, NodeId, usize);

/// Events that have not happened yet.
#[derive(Default)]
pub struct Queue {
    heap: BinaryHeap<Reverse<Due>>,
    events: Vec<Option<Event>>,
    free: Vec<usize>,
    sequence: u64,
}

impl Queue {
    /// `event` happens to `node` at `t`.
    pub fn push(&mut self, t: u64, node: NodeId, event: Event) {
        self.sequence += 1;
        let place = self.free.pop().unwrap_or(self.events.len());
        if place == self.events.len() {
            self.events.push(None);
        }
        self.events[place] = Some(event);
        self.heap.push(Reverse((t, self.sequence, node, place)));
    }

    /// When something happens next, and to whom.
    pub fn next(&self) -> Option<(u64, NodeId)> {
        self.heap.peek().map(|Reverse((t, _, node, _))| (*t, *node))
    }

    /// Takes that out.
    pub fn pop(&mut self) -> Option<Event> {
        let Reverse((_, _, _, place)) = self.heap.pop()?;
        self.free.push(place);
        self.events[place].take()
    }

    /// What is next waits until `t`; it keeps its place among what happens then.
    pub fn put_off(&mut self, t: u64) {
        if let Some(Reverse((_, sequence, node, place))) = self.heap.pop() {
            self.heap.push(Reverse((t, sequence, node, place)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(queue: &mut Queue) -> Option<(u64, NodeId)> {
        let next = queue.next();
        assert_eq!(queue.pop().is_some(), next.is_some());
        next
    }

    #[test]
    fn what_is_put_off_keeps_its_place() {
        let mut queue = Queue::default();
        for (t, node) in [(5, 1), (3, 2), (5, 3)] {
            queue.push(t, NodeId(node), Event::Wake);
        }
        queue.put_off(5);
        let order: Vec<_> = std::iter::from_fn(|| due(&mut queue)).collect();
        assert_eq!(order, [(5, NodeId(1)), (5, NodeId(2)), (5, NodeId(3))]);
        queue.push(1, NodeId(4), Event::Wake);
        assert_eq!((due(&mut queue), due(&mut queue)), (Some((1, NodeId(4))), None));
    }
}
