//! The reference: what the rules of money say about each act.

use super::{
    act::{Act, At, Elsewhere, Expected, Print, Purpose, Route, Says, Verdict, Word},
    age::Clocks,
    payment::{Ask, Debt, DebtState, Outcome, Payment, Try, What},
};

const DAY_MS: u64 = 86_400_000;
const ASKS_MAX: usize = 100;
const TRIES_MAX: usize = 8;
const YESES_MAX: usize = 8;
const TOMBSTONE_MAX: usize = 8;

/// A key that was voided before it was seen, with the voids: key, digest and time.
#[derive(Clone, Debug)]
struct Tombstone {
    gateway: u8,
    key: u32,
    voids: Vec<(u32, Print, u64)>,
}

/// All payments.
#[derive(Clone, Debug, Default)]
pub struct Reference {
    /// In the order in which they were made.
    pub payments: Vec<Payment>,
    tombstones: Vec<Tombstone>,
    pub(super) now: u64,
    pub(super) clocks: Clocks,
    /// The latest last event of what was forgotten.
    pub(super) forgotten: Option<u64>,
}

/// Something owed: attempt, true for an advice, true where parked. Open attempts are owed too.
pub type Owed = (At, &'static str, bool);

impl Reference {
    /// What must come of an act at a time.
    pub fn apply(&mut self, now: u64, act: &Act) -> Expected {
        self.now = now;
        match act {
            Act::Open { .. } => self.open(act),
            Act::Failover { at, because, route } => self.failover(*at, *because, *route),
            Act::Answer(at, says) => self.answer(*at, *says),
            Act::Unsent(at) => self.close(*at, Outcome::Unsent),
            Act::Silent(at, _) => self.close(*at, Outcome::Silent),
            Act::LateSend(at) => self.late_send(*at),
            Act::Capture { .. } => self.capture(act),
            Act::Void { gateway, key, print, target } => self.void(*gateway, *key, *print, *target),
            Act::DebtAnswer { at, advice, generation, verdict, sent } => {
                self.debt_answer(*at, *advice, *generation, *verdict, *sent)
            }
            Act::Park { at, advice, generation } => match self.debt(*at, *advice) {
                Some(debt) if debt.generation == *generation && debt.state == DebtState::Due => {
                    self.move_debt(*at, *advice, DebtState::Parked(false))
                }
                Some(_) | None => Expected::Ignored,
            },
            Act::Resolve(at, stands) => self.resolve(*at, *stands),
            Act::Expire(gateway, id, release) => self.expire(*gateway, *id, *release),
            Act::Forget { gateway, payment, last_event, days, window_days } => {
                self.forget(*gateway, *payment, *last_event, *days, *window_days)
            }
            Act::ReadClock(wall) => self.reads_clock(*wall),
            Act::AcceptClock(wall) => self.accepts_clock(*wall),
        }
    }

    /// Everything that networks are owed.
    #[must_use]
    pub fn owed(&self) -> Vec<Owed> {
        let mut owed = Vec::new();
        for payment in &self.payments {
            for (ask, asked) in payment.asks.iter().enumerate() {
                let at = |number| At { gateway: payment.gateway, payment: payment.id, ask, number };
                for (index, one) in asked.tries.iter().enumerate() {
                    if one.outcome == Outcome::Waiting {
                        owed.push((at(index + 1), "attempt", false));
                    }
                    if let Some(debt) = one.debt.as_ref().filter(|debt| !debt.state.is_over()) {
                        owed.push((at(index + 1), "reversal", matches!(debt.state, DebtState::Parked(_))));
                    }
                }
                if let Some((_, debt)) = asked.advice.as_ref().filter(|(_, debt)| !debt.state.is_over()) {
                    owed.push((at(1), "advice", matches!(debt.state, DebtState::Parked(_))));
                }
            }
        }
        owed.sort_unstable();
        owed
    }

    /// Doubt of a network: count, parked, money.
    #[must_use]
    pub fn doubt(&self, network: u8) -> (usize, usize, u64) {
        let asks = || self.payments.iter().flat_map(|payment| &payment.asks);
        let reversals =
            asks().flat_map(|ask| &ask.tries).filter(|one| one.network == network).filter_map(|one| one.debt.as_ref());
        let advices =
            asks().filter_map(|ask| ask.advice.as_ref()).filter(|(to, _)| *to == network).map(|(_, debt)| debt);
        let open = reversals.chain(advices).filter(|debt| !debt.state.is_over());
        open.fold((0, 0, 0), |(count, parked, money), debt| {
            let is_parked = matches!(debt.state, DebtState::Parked(_));
            (count + 1, parked + usize::from(is_parked), money + debt.amount)
        })
    }

    /// What a gateway used of a day.
    #[must_use]
    pub fn day_use(&self, gateway: u8, day: u64) -> u64 {
        let own = self.payments.iter().filter(|payment| payment.gateway == gateway);
        own.flat_map(|payment| &payment.asks).filter(|ask| ask.at / DAY_MS == day).map(|ask| ask.reserved).sum()
    }

    pub(super) fn find(&self, gateway: u8, id: u128) -> Option<usize> {
        self.payments.iter().position(|payment| payment.gateway == gateway && payment.id == id)
    }

    /// The place of an attempt.
    fn place(&self, at: At) -> Option<usize> {
        let place = self.find(at.gateway, at.payment)?;
        let tries = &self.payments[place].asks.get(at.ask)?.tries;
        (1..=tries.len()).contains(&at.number).then_some(place)
    }

    fn told(&self, place: usize, ask: usize, replayed: bool) -> Option<Expected> {
        let payment = &self.payments[place];
        let asked = &payment.asks[ask];
        let (word, approved) = asked.told?;
        let first = &payment.asks[0];
        let reversal = match asked.what {
            What::Cancel if first.told.is_none() => first.reversal().or(Some(DebtState::Due)),
            What::Cancel => first.reversal(),
            What::Pay | What::Check | What::Raise | What::Take | What::Return => asked.reversal(),
        };
        let advice = asked.advice.as_ref().map(|(_, debt)| debt.state);
        Some(Expected::Told { word, approved, replayed, reversal, advice })
    }

    fn known(&self, place: usize, ask: usize, print: Print) -> Expected {
        let stored = self.payments[place].asks[ask].print;
        if stored.0 != print.0 {
            return Expected::No("FingerprintVersion");
        }
        if stored.1 != print.1 {
            return Expected::No("KeyReused");
        }
        self.told(place, ask, true).unwrap_or(Expected::Wait(self.payments[place].id, ask))
    }

    fn follow_up(&self, gateway: u8, id: u128, key: u32) -> Option<(usize, usize)> {
        let place = self.find(gateway, id)?;
        let ask = self.payments[place].asks.iter().skip(1).position(|ask| ask.key == key)?;
        Some((place, ask + 1))
    }

    /// R23.
    fn has_room(&self, route: &Route) -> bool {
        let (count, _, money) = self.doubt(route.network);
        count < route.terms.doubt_count && (route.terms.doubt_money == 0 || money < route.terms.doubt_money)
    }

    fn a_try(&self, route: Route) -> Try {
        Try {
            network: route.network,
            terms: route.terms,
            owner: route.owner,
            deadline: self.now + route.terms.timeout_ms,
            outcome: Outcome::Waiting,
            yeses: Vec::new(),
            debt: None,
        }
    }

    fn an_ask(&self, key: u32, print: Print, what: What, amount: u64) -> Ask {
        Ask {
            key,
            print,
            what,
            amount,
            at: self.now,
            last: false,
            partial: false,
            unwanted: false,
            reserved: 0,
            limited: false,
            tries: Vec::new(),
            advice: None,
            told: None,
        }
    }

    fn open(&mut self, act: &Act) -> Expected {
        let Act::Open { gateway, key, print, amount, foreign, age_ms, route, purpose, day_limit } = act else {
            return Expected::Ignored;
        };
        let (gateway, key, print, amount, route) = (*gateway, *key, *print, *amount, *route);
        let known = match purpose {
            Purpose::New { .. } => {
                let own = |payment: &Payment| payment.gateway == gateway && payment.asks[0].key == key;
                self.payments.iter().position(own).map(|place| (place, 0))
            }
            Purpose::Raise(id) | Purpose::Return(id) => self.follow_up(gateway, *id, key),
        };
        if let Some((place, ask)) = known {
            return self.known(place, ask, print);
        }
        if self.is_too_old(*age_ms) {
            return Expected::No("KeyTooOld");
        }
        let what = match purpose {
            Purpose::New { check: true, .. } => What::Check,
            Purpose::New { .. } => What::Pay,
            Purpose::Raise(_) => What::Raise,
            Purpose::Return(_) => What::Return,
        };
        let mut asked = self.an_ask(key, print, what, amount);
        let place = match *purpose {
            Purpose::New { id, sale, partial, .. } => {
                if what == What::Pay && amount == 0 {
                    return Expected::No("AmountZero");
                }
                asked.partial = partial;
                if let Some(stone) =
                    self.tombstones.iter().position(|stone| stone.gateway == gateway && stone.key == key)
                {
                    // R12: nothing is sent, and the voids that came first belong to it.
                    let stone = self.tombstones.remove(stone);
                    asked.told = Some((Word::Declined, 0));
                    let mut asks = vec![asked];
                    for (key, print, at) in stone.voids {
                        let mut void = self.an_ask(key, print, What::Cancel, 0);
                        (void.at, void.told) = (at, Some((Word::Approved, 0)));
                        asks.push(void);
                    }
                    self.payments.push(Payment {
                        id,
                        gateway,
                        sale,
                        made: self.now,
                        valid_until: 0,
                        expired: false,
                        asks,
                    });
                    return self.told(self.payments.len() - 1, 0, false).unwrap_or(Expected::Ignored);
                }
                None
            }
            Purpose::Raise(id) | Purpose::Return(id) => {
                let Some(place) = self.find(gateway, id) else { return Expected::No("NotFound") };
                if let Some(refusal) = self.judge_request(place, what, amount, *foreign) {
                    return Expected::No(refusal);
                }
                Some(place)
            }
        };
        if what != What::Return && *day_limit > 0 {
            if self.day_use(gateway, self.now / DAY_MS) + amount > *day_limit {
                return Expected::No("Declined(SwitchLimit)");
            }
            asked.reserved = amount;
            asked.limited = true;
        }
        if !self.has_room(&route) {
            return Expected::No("Declined(NetworkInDoubt)");
        }
        asked.tries.push(self.a_try(route));
        let place = place.unwrap_or_else(|| {
            let Purpose::New { id, sale, .. } = *purpose else { unreachable!("a follow-up has its place") };
            let asks = Vec::new();
            let sale = sale && what == What::Pay;
            self.payments.push(Payment { id, gateway, sale, made: self.now, valid_until: 0, expired: false, asks });
            self.payments.len() - 1
        });
        let payment = &mut self.payments[place];
        payment.asks.push(asked);
        Expected::Send(At { gateway, payment: payment.id, ask: payment.asks.len() - 1, number: 1 })
    }

    /// What an increment, a capture or a refund asks of its original.
    fn judge_original(&self, payment: &Payment, is_settled: bool) -> Option<&'static str> {
        let first = &payment.asks[0];
        match first.told {
            _ if !is_settled => Some("InDoubt"),
            _ if payment.asks.len() >= ASKS_MAX => Some("TooManyOperations"),
            _ if payment.is_voided() => Some("AlreadyVoided"),
            Some((Word::Approved | Word::Partial, _)) if first.what == What::Pay => None,
            Some(_) | None => Some("NotAuthorized"),
        }
    }

    fn judge_validity(&self, payment: &Payment) -> Option<&'static str> {
        if payment.expired || self.now > payment.valid_until {
            return Some("Expired");
        }
        (payment.sale || payment.asks.iter().any(|ask| ask.last)).then_some("FinallyCaptured")
    }

    fn judge_money(amount: u64, foreign: bool) -> Option<&'static str> {
        if foreign {
            return Some("CurrencyMismatch");
        }
        (amount == 0).then_some("AmountZero")
    }

    fn judge_request(&self, place: usize, what: What, amount: u64, foreign: bool) -> Option<&'static str> {
        let payment = &self.payments[place];
        let sums = payment.sums();
        let mut original = self.judge_original(payment, payment.asks[0].told.is_some());
        // Whatever was told: money that was taken and stands can be given back.
        if what == What::Return && sums.captured > 0 && matches!(original, Some("AlreadyVoided" | "NotAuthorized")) {
            original = None;
        }
        if what == What::Raise {
            return original
                .or_else(|| self.judge_validity(payment))
                .or_else(|| (sums.captured > 0).then_some("FinallyCaptured"))
                .or_else(|| Self::judge_money(amount, foreign));
        }
        let left = sums.captured.saturating_sub(sums.refunded + sums.refunding);
        original.or_else(|| Self::judge_money(amount, foreign)).or_else(|| (amount > left).then_some("AmountExceeds"))
    }

    fn capture(&mut self, act: &Act) -> Expected {
        let Act::Capture { gateway, key, print, payment: id, amount, foreign, last } = *act else {
            return Expected::Ignored;
        };
        if let Some((place, ask)) = self.follow_up(gateway, id, key) {
            return self.known(place, ask, print);
        }
        let Some(place) = self.find(gateway, id) else { return Expected::No("NotFound") };
        let payment = &self.payments[place];
        let sums = payment.sums();
        let growing = payment.asks.iter().any(|ask| ask.what == What::Raise && ask.told.is_none());
        let settled = payment.asks[0].told.is_some() && !(last && growing);
        let tolerance = payment.asks[0].tries.last().map_or(0, |one| one.terms.tolerance);
        let most = sums.authorized + sums.authorized * tolerance / 10_000;
        let refusal = self
            .judge_original(payment, settled)
            .or_else(|| self.judge_validity(payment))
            .or_else(|| Self::judge_money(amount, foreign))
            .or_else(|| (sums.captured + amount > most).then_some("AmountExceeds"));
        if let Some(refusal) = refusal {
            return Expected::No(refusal);
        }
        let mut asked = self.an_ask(key, print, What::Take, amount);
        let network = self.payments[place].asks[0].tries.last().map_or(0, |one| one.network);
        asked.advice = Some((network, self.a_debt(amount, None, false)));
        asked.last = last;
        asked.told = Some((Word::Approved, amount));
        self.payments[place].asks.push(asked);
        if last {
            self.release(place);
        }
        self.told(place, self.payments[place].asks.len() - 1, false).unwrap_or(Expected::Ignored)
    }

    fn a_debt(&self, amount: u64, known: Option<u64>, is_remainder: bool) -> Debt {
        let state = DebtState::Due;
        Debt {
            is_remainder,
            amount,
            known,
            generation: 0,
            turns: 0,
            put_off: Vec::new(),
            covers: Vec::new(),
            since: self.now,
            doubted: false,
            state,
        }
    }

    /// Releases what is held, whichever tries it is of.
    fn release(&mut self, place: usize) {
        let payment = &self.payments[place];
        let held = payment.sums().held;
        let mut debt = self.a_debt(held, None, true);
        for (ask, asked) in payment.asks.iter().enumerate() {
            let standing = asked.tries.iter().enumerate().filter(|(_, one)| one.standing() > 0);
            debt.covers.extend(standing.map(|(number, _)| (ask, number)));
        }
        if let Some(one) = self.payments[place].asks[0].tries.last_mut()
            && held > 0
            && one.debt.is_none()
            && !one.terms.never
        {
            one.debt = Some(debt);
        }
    }

    fn void(&mut self, gateway: u8, key: u32, print: Print, target: Result<u128, u32>) -> Expected {
        let id = match target {
            Ok(id) => id,
            Err(original) => {
                let own = |payment: &&Payment| payment.gateway == gateway && payment.asks[0].key == original;
                match self.payments.iter().find(own) {
                    Some(payment) => payment.id,
                    None => return self.void_unseen(gateway, key, print, original),
                }
            }
        };
        if let Some((place, ask)) = self.follow_up(gateway, id, key) {
            return self.known(place, ask, print);
        }
        let Some(place) = self.find(gateway, id) else { return Expected::No("NotFound") };
        if let Some(refusal) = self.judge_void(&self.payments[place]) {
            return Expected::No(refusal);
        }
        for ask in 0..self.payments[place].asks.len() {
            if !matches!(self.payments[place].asks[ask].what, What::Pay | What::Raise) {
                continue;
            }
            if self.payments[place].asks[ask].told.is_none() {
                self.payments[place].asks[ask].unwanted = true;
                continue;
            }
            for number in 0..self.payments[place].asks[ask].tries.len() {
                let others = self.payments[place].asks[0].tries.iter().enumerate();
                let mut others = others.filter(|(other, _)| (0, *other) != (ask, number));
                let covers = |one: &Try| one.debt.as_ref().is_some_and(|debt| debt.covers.contains(&(ask, number)));
                // What was given back with the rest is in that one's amount.
                if !others.any(|(_, one)| covers(one)) {
                    self.undo(place, ask, number);
                }
            }
        }
        let mut asked = self.an_ask(key, print, What::Cancel, 0);
        asked.told = Some((Word::Approved, 0));
        self.payments[place].asks.push(asked);
        self.told(place, self.payments[place].asks.len() - 1, false).unwrap_or(Expected::Ignored)
    }

    fn judge_void(&self, payment: &Payment) -> Option<&'static str> {
        if payment.asks.len() >= ASKS_MAX {
            return Some("TooManyOperations");
        }
        if payment.is_voided() {
            return Some("AlreadyVoided");
        }
        let sums = payment.sums();
        let captured = payment.asks.iter().any(|ask| ask.what == What::Take);
        let sale_is_over = payment.sale && sums.captured > 0 && payment.made / DAY_MS != self.now / DAY_MS;
        // An operator may have found money at the network of a payment that was told otherwise; a sale of another day.
        if captured || sums.refunded > 0 || sums.refunding > 0 || sale_is_over {
            return Some("UseRefund");
        }
        if payment.asks[0].what != What::Pay {
            return Some("NotAuthorized");
        }
        let stuck = |one: &Try| one.terms.never && (one.standing() > 0 || one.is_doubtful());
        if payment.asks.iter().flat_map(|ask| &ask.tries).any(stuck) {
            return Some("NotReversible");
        }
        (payment.expired && sums.held == 0).then_some("Expired")
    }

    fn undo(&mut self, place: usize, ask: usize, number: usize) {
        let one = &self.payments[place].asks[ask].tries[number];
        match (&one.debt, one.outcome) {
            (None, Outcome::Yes(amount)) => {
                let debt = Debt { turns: 1, ..self.a_debt(amount, Some(amount), false) };
                self.payments[place].asks[ask].tries[number].debt = Some(debt);
            }
            (Some(debt), _)
                if debt.state == DebtState::Stands
                    && !debt.is_remainder
                    && debt.turns == 0
                    && !one.yeses.is_empty() =>
            {
                self.next_turn(place, ask, number); // the approval has shown itself since
            }
            (Some(debt), _) if debt.state == DebtState::Stands => self.once_more(place, ask, number),
            (None | Some(_), _) => {}
        }
    }

    fn void_unseen(&mut self, gateway: u8, key: u32, print: Print, original: u32) -> Expected {
        let mut replayed = false;
        match self.tombstones.iter_mut().find(|stone| stone.gateway == gateway && stone.key == original) {
            None => {
                let voids = vec![(key, print, self.now)];
                self.tombstones.push(Tombstone { gateway, key: original, voids });
            }
            Some(stone) => match stone.voids.iter().find(|(known, _, _)| *known == key) {
                Some((_, stored, _)) if stored.0 != print.0 => return Expected::No("FingerprintVersion"),
                Some((_, stored, _)) if *stored != print => return Expected::No("KeyReused"),
                Some(_) => replayed = true,
                None if stone.voids.len() >= TOMBSTONE_MAX => return Expected::No("TooManyOperations"),
                None => stone.voids.push((key, print, self.now)),
            },
        }
        Expected::Told { word: Word::Approved, approved: 0, replayed, reversal: None, advice: None }
    }

    fn failover(&mut self, at: At, because: Elsewhere, route: Route) -> Expected {
        let Some(place) = self.place(at) else { return Expected::Ignored };
        let ask = &self.payments[place].asks[at.ask];
        let one = &ask.tries[at.number - 1];
        let is_no = matches!(because, Elsewhere::Unsent | Elsewhere::Answered(Says::No));
        let may = one.outcome == Outcome::Waiting
            && is_no
            && !ask.unwanted
            && ask.tries.len() < TRIES_MAX
            && one.owner == route.owner
            && self.has_room(&route);
        if !may {
            return match because {
                Elsewhere::Unsent => self.close(at, Outcome::Unsent),
                Elsewhere::Answered(says) => self.answer(at, says),
            };
        }
        let next = self.a_try(route);
        let ask = &mut self.payments[place].asks[at.ask];
        ask.tries[at.number - 1].outcome = match because {
            Elsewhere::Unsent => Outcome::Unsent,
            Elsewhere::Answered(_) => Outcome::No,
        };
        ask.tries.push(next);
        Expected::Send(At { number: ask.tries.len(), ..at })
    }

    fn answer(&mut self, at: At, says: Says) -> Expected {
        let Some(place) = self.place(at) else { return Expected::Ignored };
        let number = at.number - 1;
        if self.payments[place].asks[at.ask].tries[number].outcome != Outcome::Waiting {
            return self.late(place, at, says);
        }
        let now = self.now;
        let payment = &mut self.payments[place];
        let ask = &mut payment.asks[at.ask];
        let (unwanted, partial, asked) = (ask.unwanted, ask.partial, ask.amount);
        let one = &mut ask.tries[number];
        let (code, stated) = match says {
            Says::Nonsense => return self.give_up(place, at, None),
            Says::No => {
                one.outcome = Outcome::No;
                ask.told = Some((Word::Declined, 0));
                ask.reserved = 0;
                return self.told(place, at.ask, false).unwrap_or(Expected::Ignored);
            }
            Says::Yes { code, .. } | Says::Vague { code } => (code, Self::stated(says, asked)),
        };
        one.yeses.push((code, stated));
        let Some(amount) = stated.filter(|amount| *amount <= asked) else {
            return self.give_up(place, at, stated);
        };
        let useful = amount == asked || partial;
        if !useful && !unwanted && one.terms.never {
            return self.give_up(place, at, Some(amount)); // it cannot be given back (R22)
        }
        one.outcome = Outcome::Yes(amount);
        let valid_until = now + one.terms.valid_ms;
        if unwanted || !useful {
            ask.told = Some((if unwanted { Word::Voided } else { Word::Declined }, 0));
            self.undo(place, at.ask, number);
        } else {
            ask.told = Some((if amount == asked { Word::Approved } else { Word::Partial }, amount));
            ask.reserved = ask.reserved.min(amount);
            if at.ask == 0 {
                payment.valid_until = valid_until;
            }
        }
        self.told(place, at.ask, false).unwrap_or(Expected::Ignored)
    }

    /// How much a yes is for, where it can be used (R18): the same currency, and more than nothing where something was asked.
    fn stated(says: Says, asked: u64) -> Option<u64> {
        match says {
            Says::Yes { foreign: false, amount: None, .. } => Some(asked),
            Says::Yes { foreign: false, amount: Some(amount), .. } if amount > 0 || asked == 0 => Some(amount),
            Says::Yes { .. } | Says::Vague { .. } | Says::No | Says::Nonsense => None,
        }
    }

    /// Neither yes nor no: reversed where the network takes reversals.
    fn give_up(&mut self, place: usize, at: At, known: Option<u64>) -> Expected {
        let ask = &self.payments[place].asks[at.ask];
        let reversible = ask.what != What::Check && !ask.tries[at.number - 1].terms.never;
        let turns = ask.tries[at.number - 1].yeses.len().min(1);
        let amount = ask.amount.max(known.unwrap_or(0));
        let debt = reversible.then(|| Debt { turns, ..self.a_debt(amount, known, false) });
        let ask = &mut self.payments[place].asks[at.ask];
        ask.tries[at.number - 1].outcome = Outcome::Silent;
        ask.tries[at.number - 1].debt = debt;
        ask.told = Some((if reversible { Word::TimedOut } else { Word::Unresolved }, 0));
        self.told(place, at.ask, false).unwrap_or(Expected::Ignored)
    }

    fn close(&mut self, at: At, outcome: Outcome) -> Expected {
        let Some(place) = self.place(at) else { return Expected::Ignored };
        let ask = &mut self.payments[place].asks[at.ask];
        if ask.tries[at.number - 1].outcome == Outcome::Waiting {
            if outcome == Outcome::Silent {
                return self.give_up(place, at, None);
            }
            ask.tries[at.number - 1].outcome = outcome;
            ask.told = Some((Word::Declined, 0));
            ask.reserved = 0;
        }
        self.told(place, at.ask, false).unwrap_or(Expected::Ignored)
    }

    /// An answer after the decision (R13).
    fn late(&mut self, place: usize, at: At, says: Says) -> Expected {
        let (Says::Yes { code, .. } | Says::Vague { code }) = says else { return Expected::Noted };
        let ask = &mut self.payments[place].asks[at.ask];
        let amount = Self::stated(says, ask.amount);
        let reversible = ask.what != What::Check;
        let one = &mut ask.tries[at.number - 1];
        if one.yeses.contains(&(code, amount)) {
            return Expected::Noted;
        }
        let is_kept = one.yeses.len() < YESES_MAX;
        if is_kept {
            one.yeses.push((code, amount));
        }
        let told_and_standing =
            matches!(one.outcome, Outcome::Yes(_)) && one.debt.as_ref().is_none_or(|debt| debt.is_remainder);
        let number = at.number - 1;
        let word = one.debt.as_ref().is_some_and(|debt| debt.state == DebtState::Stands);
        if reversible && !one.terms.never && !told_and_standing && !word {
            match &one.debt {
                // The one before it is being taken back: this one's turn comes when that is acknowledged.
                Some(debt) if is_kept && debt.state == DebtState::Due && debt.turns > 0 => {}
                Some(debt) if is_kept && (debt.turns == 0 || debt.state.is_over()) => {
                    self.next_turn(place, at.ask, number);
                }
                Some(_) | None => self.once_more(place, at.ask, number),
            }
        }
        self.reserve_again(place, at.ask);
        Expected::Noted
    }

    /// What may be at a network after all counts in full again (R11).
    fn reserve_again(&mut self, place: usize, ask: usize) {
        let ask = &mut self.payments[place].asks[ask];
        if ask.limited && ask.tries.iter().any(Try::is_doubtful) {
            ask.reserved = ask.amount;
        }
    }

    fn late_send(&mut self, at: At) -> Expected {
        let Some(place) = self.place(at) else { return Expected::Ignored };
        let ask = &self.payments[place].asks[at.ask];
        let one = &ask.tries[at.number - 1];
        let word = one.debt.as_ref().is_some_and(|debt| debt.state == DebtState::Stands);
        let unanswered = matches!(one.outcome, Outcome::Silent | Outcome::Unsent);
        if ask.what != What::Check && !one.terms.never && unanswered && !word {
            self.once_more(place, at.ask, at.number - 1);
            self.reserve_again(place, at.ask);
        }
        Expected::Noted
    }

    /// The same reversal once more, as the next generation; or the first one, of the first approval if there is one.
    fn once_more(&mut self, place: usize, ask: usize, number: usize) {
        let (now, asked) = (self.now, self.payments[place].asks[ask].amount);
        let one = &self.payments[place].asks[ask].tries[number];
        let debt = match &one.debt {
            Some(old) => Debt {
                generation: old.generation + 1,
                since: now,
                doubted: false,
                state: DebtState::Due,
                ..old.clone()
            },
            None => {
                let known = one.yeses.first().and_then(|(_, amount)| *amount);
                let turns = one.yeses.len().min(1);
                Debt { turns, ..self.a_debt(asked.max(known.unwrap_or(0)), known, false) }
            }
        };
        self.payments[place].asks[ask].tries[number].debt = Some(debt);
    }

    /// The next approval is taken back: the next generation, with that one's amount.
    fn next_turn(&mut self, place: usize, ask: usize, number: usize) {
        self.once_more(place, ask, number);
        let asked = &mut self.payments[place].asks[ask];
        let one = &mut asked.tries[number];
        if let Some(debt) = &mut one.debt {
            debt.known = one.yeses[debt.turns].1;
            debt.amount = asked.amount.max(debt.known.unwrap_or(0));
            debt.turns += 1;
        }
    }

    /// What was put off is taken back after all: the next generation, with that one's amount.
    fn again(&mut self, place: usize, ask: usize, number: usize) {
        self.once_more(place, ask, number);
        let asked = &mut self.payments[place].asks[ask];
        if let Some(debt) = &mut asked.tries[number].debt {
            debt.known = debt.put_off.remove(0);
            debt.amount = asked.amount.max(debt.known.unwrap_or(0));
        }
    }

    fn debt(&self, at: At, advice: bool) -> Option<&Debt> {
        let ask = self.payments[self.find(at.gateway, at.payment)?].asks.get(at.ask)?;
        if advice {
            return ask.advice.as_ref().map(|(_, debt)| debt);
        }
        ask.tries.get(at.number.checked_sub(1)?)?.debt.as_ref()
    }

    fn debt_answer(&mut self, at: At, advice: bool, generation: u16, verdict: Verdict, sent: u64) -> Expected {
        let Some(debt) = self.debt(at, advice) else { return Expected::Ignored };
        if debt.generation != generation || debt.state.is_over() {
            return Expected::Ignored;
        }
        let state = match verdict {
            Verdict::Later => return Expected::Noted,
            Verdict::Refused => DebtState::Parked(true),
            Verdict::NotFound if advice => DebtState::Parked(true),
            Verdict::Done | Verdict::Duplicate if advice => DebtState::Done,
            Verdict::Done | Verdict::Duplicate | Verdict::NotFound => {
                let (found, doubted, since) = (verdict != Verdict::NotFound, debt.doubted, debt.since);
                let place = self.place(at).unwrap_or_default();
                let one = &mut self.payments[place].asks[at.ask].tries[at.number - 1];
                let approved = !one.yeses.is_empty();
                let arrived = sent >= one.deadline.max(since) + one.terms.in_flight_ms;
                if found && (approved || one.terms.proves || (doubted && arrived)) {
                    DebtState::Done
                } else if !found && !approved && doubted && arrived {
                    DebtState::NotFound
                } else {
                    let yeses = one.yeses.len();
                    let Some(debt) = &mut one.debt else { return Expected::Ignored };
                    if !found && doubted && arrived && !debt.is_remainder && debt.turns < yeses {
                        debt.put_off.push(debt.known);
                        self.next_turn(place, at.ask, at.number - 1);
                    } else {
                        debt.doubted = true;
                    }
                    return Expected::Noted;
                }
            }
        };
        if self.debt(at, advice).is_some_and(|debt| debt.state == state) {
            return Expected::Noted;
        }
        self.move_debt(at, advice, state)
    }

    fn resolve(&mut self, at: At, stands: bool) -> Expected {
        let state = if stands { DebtState::Stands } else { DebtState::Gone };
        for advice in [false, true] {
            if self.debt(at, advice).is_some_and(|debt| matches!(debt.state, DebtState::Parked(_))) {
                return self.move_debt(at, advice, state);
            }
        }
        Expected::Ignored
    }

    fn move_debt(&mut self, at: At, advice: bool, state: DebtState) -> Expected {
        let Some(place) = self.find(at.gateway, at.payment) else { return Expected::Ignored };
        let payment = &mut self.payments[place];
        let ask = &mut payment.asks[at.ask];
        if advice {
            if let Some((_, debt)) = &mut ask.advice {
                debt.state = state;
            }
            return Expected::Noted;
        }
        let yeses = ask.tries[at.number - 1].yeses.len();
        let Some(debt) = &mut ask.tries[at.number - 1].debt else { return Expected::Ignored };
        if state == DebtState::Done && !debt.is_remainder && debt.turns < yeses {
            self.next_turn(place, at.ask, at.number - 1);
            return Expected::Noted;
        }
        if state == DebtState::Done && !debt.put_off.is_empty() {
            self.again(place, at.ask, at.number - 1);
            return Expected::Noted;
        }
        debt.state = state;
        if state.is_over() && state != DebtState::Stands {
            debt.turns = yeses;
            debt.put_off.clear();
        }
        if !state.is_over() || state == DebtState::Stands {
            return Expected::Noted;
        }
        if debt.is_remainder {
            let mut left = debt.amount;
            for ask in &mut payment.asks {
                let part = ask.reserved.min(left);
                ask.reserved -= part;
                left -= part;
            }
        } else if !ask.tries.iter().any(Try::is_doubtful) {
            ask.reserved = ask.reserved.min(ask.tries.iter().map(Try::kept).sum());
        }
        Expected::Noted
    }

    fn expire(&mut self, gateway: u8, id: u128, release: bool) -> Expected {
        if matches!(self.clocks, Clocks::Disputed) {
            return Expected::Ignored;
        }
        let Some(place) = self.find(gateway, id) else { return Expected::Ignored };
        let payment = &self.payments[place];
        let first = &payment.asks[0];
        let authorized = first.what == What::Pay && matches!(first.told, Some((Word::Approved | Word::Partial, _)));
        let over = payment.is_voided() || payment.expired || payment.asks.iter().any(|ask| ask.last);
        let open = payment.asks.iter().any(|ask| ask.told.is_none());
        if !authorized || over || open || payment.sums().held == 0 || self.now <= payment.valid_until {
            return Expected::Ignored;
        }
        if release {
            self.release(place);
        }
        self.payments[place].expired = true;
        Expected::Noted
    }
}
