//! A line that is fair between gateways: one waiter of each in turn, and where it is full, the last of the gateway that has
//! most waiting goes. So a gateway that sends ten times what it should waits behind itself.

use std::collections::{HashMap, VecDeque};

use switch_domain::id::GatewayId;

/// Waiters of one priority.
pub(super) struct Line<W> {
    /// Never an empty one.
    waiting: HashMap<GatewayId, VecDeque<(u64, W)>>,
    /// Gateways with waiters, the next first.
    turns: VecDeque<GatewayId>,
    length: usize,
    length_max: usize,
    next_ticket: u64,
}

/// What became of one who wanted to wait.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Queued<W> {
    /// It waits, and may leave with this ticket.
    Waits(u64),
    /// It waits, in the place of another.
    InPlaceOf(W, u64),
    /// The line is full, and nobody has more waiting than its gateway.
    Full,
}

impl<W> Line<W> {
    pub(super) fn new(length_max: usize) -> Self {
        Self { waiting: HashMap::new(), turns: VecDeque::new(), length: 0, length_max, next_ticket: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.length
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// True where one of this gateway waits.
    pub(super) fn waits(&self, gateway: &GatewayId) -> bool {
        self.waiting.contains_key(gateway)
    }

    /// Puts one at the end of its gateway's part of the line.
    pub(super) fn push(&mut self, gateway: &GatewayId, waiter: W) -> Queued<W> {
        let mut gone = None;
        if self.length >= self.length_max {
            let own = self.waiting.get(gateway).map_or(0, VecDeque::len);
            let most = self.waiting.iter().max_by_key(|(id, line)| (line.len(), *id));
            let Some(longest) = most.filter(|(_, line)| line.len() > own + 1).map(|(id, _)| id.clone()) else {
                return Queued::Full;
            };
            gone = self.waiting.get_mut(&longest).and_then(VecDeque::pop_back).map(|(_, waiter)| waiter);
            self.length -= 1;
        }
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        if !self.waiting.contains_key(gateway) {
            self.turns.push_back(gateway.clone());
        }
        self.waiting.entry(gateway.clone()).or_default().push_back((ticket, waiter));
        self.length += 1;
        match gone {
            Some(gone) => Queued::InPlaceOf(gone, ticket),
            None => Queued::Waits(ticket),
        }
    }

    /// The next in turn of the gateways that may go.
    pub(super) fn pop(&mut self, may_go: impl Fn(&GatewayId) -> bool) -> Option<(GatewayId, W)> {
        let turn = self.turns.iter().position(may_go)?;
        let gateway = self.turns.remove(turn)?;
        let line = self.waiting.get_mut(&gateway)?;
        let (_, waiter) = line.pop_front()?;
        if line.is_empty() {
            self.waiting.remove(&gateway);
        } else {
            self.turns.push_back(gateway.clone());
        }
        self.length -= 1;
        Some((gateway, waiter))
    }

    /// One leaves before its turn; false where it is no longer in the line.
    pub(super) fn leave(&mut self, gateway: &GatewayId, ticket: u64) -> bool {
        let Some(line) = self.waiting.get_mut(gateway) else { return false };
        let Ok(place) = line.binary_search_by_key(&ticket, |(ticket, _)| *ticket) else { return false };
        line.remove(place);
        if line.is_empty() {
            self.waiting.remove(gateway);
            self.turns.retain(|waiting| waiting != gateway);
        }
        self.length -= 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> GatewayId {
        GatewayId::parse(name).expect("an id")
    }

    #[test]
    fn gateways_take_turns_whoever_has_most_waiting() {
        let mut line = Line::new(100);
        for number in 0..5 {
            line.push(&id("shop"), number);
        }
        line.push(&id("market"), 10);
        line.push(&id("market"), 11);
        let order: Vec<i32> = std::iter::from_fn(|| line.pop(|_| true)).map(|(_, waiter)| waiter).collect();
        assert_eq!(order, [0, 10, 1, 11, 2, 3, 4]);
        assert!(line.is_empty());
    }

    #[test]
    fn who_may_not_go_keeps_its_turn() {
        let mut line = Line::new(100);
        line.push(&id("shop"), 1);
        line.push(&id("market"), 10);
        assert_eq!(line.pop(|gateway| *gateway != id("shop")), Some((id("market"), 10)));
        assert_eq!(line.pop(|gateway| *gateway != id("shop")), None);
        assert_eq!(line.pop(|_| true), Some((id("shop"), 1)));
    }

    #[test]
    fn a_full_line_makes_room_for_the_modest_at_the_cost_of_the_longest() {
        let mut line = Line::new(3);
        for number in 0..3 {
            line.push(&id("shop"), number);
        }
        assert_eq!(line.push(&id("shop"), 3), Queued::Full);
        assert_eq!(line.push(&id("market"), 10), Queued::InPlaceOf(2, 4));
        assert_eq!(line.push(&id("market"), 11), Queued::Full, "shop would have as few as market then");
        let order: Vec<i32> = std::iter::from_fn(|| line.pop(|_| true)).map(|(_, waiter)| waiter).collect();
        assert_eq!(order, [0, 10, 1]);
    }

    #[test]
    fn one_who_leaves_frees_its_place_and_its_turn() {
        let mut line = Line::new(2);
        let Queued::Waits(ticket) = line.push(&id("shop"), 1) else { panic!("there is room") };
        line.push(&id("market"), 2);
        assert!(line.leave(&id("shop"), ticket));
        assert!(!line.leave(&id("shop"), ticket));
        assert_eq!((line.len(), line.pop(|_| true), line.pop(|_| true)), (1, Some((id("market"), 2)), None));
    }
}
