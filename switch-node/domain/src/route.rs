//! Which network is asked: the longest card range that holds the number, then currency and amount, then priority. Built
//! once for each version of the directory; a choice does not allocate but for its result.

use std::collections::BTreeMap;

use crate::{
    card::Pan,
    directory::{Directory, Route},
    id::{NetworkId, RouteId},
    money::{Amount, Currency},
};

/// Routes, indexed by range.
#[derive(Debug, Default)]
pub struct RouteTable {
    /// Disjoint pieces of the number space, sorted by their first number; each names the routes of the longest range there.
    pieces: Vec<Piece>,
    routes: Vec<Route>,
}

#[derive(Debug)]
struct Piece {
    low: u64,
    high: u64,
    /// Indices into `routes`, in the order of priority and id.
    routes: Vec<u32>,
}

/// One network that may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Route that names it.
    pub route: RouteId,
    /// The network.
    pub network: NetworkId,
}

/// Where a request goes: only [`RouteTable::choose`] makes one, so that nothing is opened without a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routed {
    candidates: Vec<Candidate>,
}

impl Routed {
    /// Candidates in the order in which they are asked; never empty.
    #[must_use]
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }
}

/// Why there is no route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unroutable {
    /// No range holds the number.
    NoRange,
    /// The number's check digit is wrong and its range carries one (R22).
    CheckDigit,
    /// The range has no enabled route for the currency and amount.
    NoRoute,
}

/// Why a route is passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassedOver {
    /// It is switched off.
    Disabled,
    /// It does not take the currency.
    Currency,
    /// The amount is below its least.
    AmountBelow,
    /// The amount is above its greatest.
    AmountAbove,
    /// A route before it names the same network.
    NetworkNamedBefore,
}

impl Route {
    /// What keeps it from serving this currency and amount.
    fn refuses(&self, currency: Currency, amount: Amount) -> Option<PassedOver> {
        if !self.enabled {
            Some(PassedOver::Disabled)
        } else if !self.currencies.is_empty() && !self.currencies.contains(&currency) {
            Some(PassedOver::Currency)
        } else if amount < self.amount_min {
            Some(PassedOver::AmountBelow)
        } else if self.amount_max.is_some_and(|max| amount > max) {
            Some(PassedOver::AmountAbove)
        } else {
            None
        }
    }
}

impl RouteTable {
    /// Indexes a directory's routes.
    #[must_use]
    pub fn of(directory: &Directory) -> Self {
        let mut routes: Vec<Route> = directory.routes.values().cloned().collect();
        // Wide ranges first: a narrower one that comes later covers them, piece by piece.
        routes.sort_by(|a, b| {
            let width = |route: &Route| route.high - route.low;
            width(b).cmp(&width(a)).then(a.low.cmp(&b.low)).then(a.priority.cmp(&b.priority)).then(a.id.cmp(&b.id))
        });
        let mut pieces: BTreeMap<u64, (u64, Vec<u32>)> = BTreeMap::new();
        let mut at = 0;
        while at < routes.len() {
            let (low, high) = (routes[at].low, routes[at].high);
            let end = at + routes[at..].iter().take_while(|route| (route.low, route.high) == (low, high)).count();
            carve(&mut pieces, low, high);
            pieces.insert(low, (high, (at..end).map(|index| index as u32).collect()));
            at = end;
        }
        let pieces = pieces.into_iter().map(|(low, (high, routes))| Piece { low, high, routes }).collect();
        Self { pieces, routes }
    }

    /// Chooses the networks for a number, currency and amount.
    ///
    /// # Errors
    /// [`Unroutable`].
    pub fn choose(&self, pan: &Pan, currency: Currency, amount: Amount) -> Result<Routed, Unroutable> {
        let piece = self.piece_of(pan.range_key()).ok_or(Unroutable::NoRange)?;
        let of_range = || self.routes_of(piece);
        if of_range().any(|route| route.luhn) && !pan.has_check_digit() {
            return Err(Unroutable::CheckDigit);
        }
        let mut candidates: Vec<Candidate> = Vec::with_capacity(piece.routes.len());
        for route in of_range() {
            if route.refuses(currency, amount).is_none()
                && candidates.iter().all(|known| known.network != route.network)
            {
                candidates.push(Candidate { route: route.id.clone(), network: route.network.clone() });
            }
        }
        if candidates.is_empty() { Err(Unroutable::NoRoute) } else { Ok(Routed { candidates }) }
    }

    /// The routes that [`RouteTable::choose`] looks at for a number, in its order, each with why it is passed over.
    pub fn explain(
        &self,
        number: u64,
        currency: Currency,
        amount: Amount,
    ) -> impl Iterator<Item = (&Route, Option<PassedOver>)> {
        let mut named: Vec<&NetworkId> = Vec::new();
        self.piece_of(number).into_iter().flat_map(|piece| self.routes_of(piece)).map(move |route| {
            let passed_over = match route.refuses(currency, amount) {
                None if named.contains(&&route.network) => Some(PassedOver::NetworkNamedBefore),
                None => {
                    named.push(&route.network);
                    None
                }
                refused => refused,
            };
            (route, passed_over)
        })
    }

    fn piece_of(&self, number: u64) -> Option<&Piece> {
        let last = self.pieces[..self.pieces.partition_point(|piece| piece.low <= number)].last();
        last.filter(|piece| number <= piece.high)
    }

    fn routes_of(&self, piece: &Piece) -> impl Iterator<Item = &Route> {
        piece.routes.iter().map(|index| &self.routes[*index as usize])
    }
}

/// Takes `low..=high` out of the pieces, cutting those that reach over its ends.
fn carve(pieces: &mut BTreeMap<u64, (u64, Vec<u32>)>, low: u64, high: u64) {
    let touched: Vec<u64> =
        pieces.range(..=high).filter(|(_, (end, _))| *end >= low).map(|(start, _)| *start).collect();
    for start in touched {
        let Some((end, routes)) = pieces.remove(&start) else { continue };
        if start < low {
            pieces.insert(start, (low - 1, routes.clone()));
        }
        if end > high {
            pieces.insert(high + 1, (end, routes));
        }
    }
}

/// First number of a range given by up to 19 digits: filled up with zeros.
#[must_use]
pub fn range_low(digits: &str) -> Option<u64> {
    filled(digits, b'0')
}

/// Last number of a range given by up to 19 digits: filled up with nines.
#[must_use]
pub fn range_high(digits: &str) -> Option<u64> {
    filled(digits, b'9')
}

fn filled(digits: &str, fill: u8) -> Option<u64> {
    if digits.is_empty() || digits.len() > 19 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let padded = digits.bytes().chain(std::iter::repeat(fill)).take(19);
    Some(padded.fold(0, |key, digit| key * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(id: &str, low: &str, high: &str, priority: u32, network: &str) -> Route {
        Route {
            id: RouteId::parse(id).expect("an id"),
            low: range_low(low).expect("digits"),
            high: range_high(high).expect("digits"),
            currencies: vec![],
            amount_min: Amount::ZERO,
            amount_max: None,
            priority,
            network: NetworkId::parse(network).expect("an id"),
            enabled: true,
            luhn: false,
        }
    }

    fn table(routes: impl IntoIterator<Item = Route>) -> RouteTable {
        let mut directory = Directory::default();
        directory.routes.extend(routes.into_iter().map(|route| (route.id.clone(), route)));
        RouteTable::of(&directory)
    }

    fn networks(table: &RouteTable, prefix: &str, amount: i64, currency: &str) -> Result<Vec<String>, Unroutable> {
        let pan = Pan::parse(&format!("{prefix}{}", "0".repeat(16 - prefix.len()))).expect("a number");
        let currency = Currency::parse(currency).expect("a currency");
        let routed = table.choose(&pan, currency, Amount::parse(amount).expect("an amount"))?;
        Ok(routed.candidates().iter().map(|candidate| candidate.network.to_string()).collect())
    }

    #[test]
    fn the_longest_range_wins_and_the_rest_of_the_wide_one_stays() {
        let table = table([
            route("all", "9", "9", 1, "wide"),
            route("eight", "95000000", "95000000", 1, "narrow"),
            route("account", "9500000012", "9500000034", 1, "account"),
        ]);
        assert_eq!(networks(&table, "9499", 1, "EUR"), Ok(vec!["wide".into()]));
        assert_eq!(networks(&table, "95000000", 1, "EUR"), Ok(vec!["narrow".into()]));
        assert_eq!(networks(&table, "9500000020", 1, "EUR"), Ok(vec!["account".into()]));
        assert_eq!(networks(&table, "9500000035", 1, "EUR"), Ok(vec!["narrow".into()]));
        assert_eq!(networks(&table, "9600", 1, "EUR"), Ok(vec!["wide".into()]));
        assert_eq!(networks(&table, "8", 1, "EUR"), Err(Unroutable::NoRange));
    }

    #[test]
    fn priority_orders_and_disabled_routes_are_passed_over() {
        let mut second = route("second", "9", "9", 2, "b");
        let first = route("first", "9", "9", 1, "a");
        let table_of = |routes: [Route; 2]| table(routes);
        assert_eq!(
            networks(&table_of([second.clone(), first.clone()]), "9", 1, "EUR"),
            Ok(vec!["a".into(), "b".into()])
        );
        second.enabled = false;
        assert_eq!(networks(&table_of([second.clone(), first.clone()]), "9", 1, "EUR"), Ok(vec!["a".into()]));
        let off = Route { enabled: false, ..first };
        assert_eq!(networks(&table_of([second, off]), "9", 1, "EUR"), Err(Unroutable::NoRoute));
    }

    #[test]
    fn a_disabled_longer_range_does_not_fall_back_to_the_wider_one() {
        let off = Route { enabled: false, ..route("eight", "95000000", "95000000", 1, "narrow") };
        let table = table([route("all", "9", "9", 1, "wide"), off]);
        assert_eq!(networks(&table, "95000000", 1, "EUR"), Err(Unroutable::NoRoute));
    }

    #[test]
    fn currency_and_amount_select() {
        let euro =
            Route { currencies: vec![Currency::parse("EUR").expect("euro")], ..route("euro", "9", "9", 1, "euro") };
        let small = Route { amount_max: Amount::parse(100).ok(), ..route("small", "9", "9", 2, "small") };
        let table = table([euro, small]);
        assert_eq!(networks(&table, "9", 100, "EUR"), Ok(vec!["euro".into(), "small".into()]));
        assert_eq!(networks(&table, "9", 101, "EUR"), Ok(vec!["euro".into()]));
        assert_eq!(networks(&table, "9", 101, "USD"), Err(Unroutable::NoRoute));
    }

    #[test]
    fn r22_the_check_digit_is_a_property_of_the_range() {
        let strict = Route { luhn: true, ..route("strict", "9", "9", 1, "a") };
        assert_eq!(networks(&table([strict]), "9200", 1, "EUR").err(), Some(Unroutable::CheckDigit));
        assert_eq!(networks(&table([route("loose", "9", "9", 1, "a")]), "9200", 1, "EUR"), Ok(vec!["a".into()]));
    }
}
