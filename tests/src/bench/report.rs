//! Medians of rounds, as a table for people and one object for programs.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{drive::Latencies, machine::Used};

/// What was measured in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The echo.
    Echo,
    /// Puts into etcd.
    Etcd,
    /// One call for each authorization.
    Unary,
    /// AuthorizeStream.
    Stream,
}

impl Subject {
    /// Its key in the object.
    pub fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Etcd => "etcd",
            Self::Unary => "unary",
            Self::Stream => "stream",
        }
    }
}

/// One subject at one number of callers, once.
#[derive(Debug, Clone)]
pub struct Round {
    /// What.
    pub subject: Subject,
    /// By how many callers, or with how many in flight.
    pub callers: usize,
    /// Answers a second.
    pub per_second: f64,
    /// Half were faster, microseconds.
    pub p50_us: u64,
    /// 99 of 100 were faster.
    pub p99_us: u64,
    /// 999 of 1000 were faster.
    pub p999_us: u64,
    /// How many.
    pub count: u64,
    /// Seconds that counted.
    pub seconds: f64,
    /// What the machine spent on it.
    pub used: Used,
    /// Tasks that wanted to run, over the minute before its end.
    pub load_average: f64,
}

impl Round {
    /// From what was measured.
    pub fn new(subject: Subject, callers: usize, latencies: &Latencies, seconds: f64, used: Used, load: f64) -> Self {
        let at = |quantile| latencies.value_at_quantile(quantile);
        Self {
            subject,
            callers,
            per_second: latencies.len() as f64 / seconds,
            p50_us: at(0.5),
            p99_us: at(0.99),
            p999_us: at(0.999),
            count: latencies.len(),
            seconds,
            used,
            load_average: load,
        }
    }

    /// One line for whoever watches.
    pub fn line(&self) -> String {
        let cpu: Vec<String> = self.cpu_each_us().iter().map(|(part, us)| format!("{part} {us:.1}")).collect();
        format!(
            "{:>6} {:>4} callers  {:>8.0}/s  p50 {:>7}  p99 {:>7}  p999 {:>7}  cpu µs each: {}; others {:.2} cores; load {:.1}",
            self.subject.name(),
            self.callers,
            self.per_second,
            ms(self.p50_us),
            ms(self.p99_us),
            ms(self.p999_us),
            cpu.join(" "),
            self.others_cores(),
            self.load_average,
        )
    }

    /// Processor time of each part for one answer.
    fn cpu_each_us(&self) -> BTreeMap<&'static str, f64> {
        let each = |total: &u64| *total as f64 / self.count.max(1) as f64;
        self.used.cpu_us.iter().map(|(part, total)| (*part, each(total))).collect()
    }

    fn others_cores(&self) -> f64 {
        self.used.others_us as f64 / 1e6 / self.seconds
    }
}

/// All rounds of a run.
#[derive(Debug, Clone, Default)]
pub struct Rounds(pub Vec<Round>);

impl Rounds {
    /// The object of `callers`, `etcd` and `echo`.
    pub fn object(&self) -> Map<String, Value> {
        let mut callers = Map::new();
        let mut beside: BTreeMap<Subject, Map<String, Value>> = BTreeMap::new();
        for number in self.numbers() {
            let mut own = Map::new();
            for subject in [Subject::Unary, Subject::Stream] {
                if let Some(leaf) = self.leaf(subject, number) {
                    own.insert(subject.name().to_owned(), leaf);
                }
            }
            callers.insert(number.to_string(), Value::Object(own));
            for subject in [Subject::Etcd, Subject::Echo] {
                if let Some(leaf) = self.leaf(subject, number) {
                    beside.entry(subject).or_default().insert(number.to_string(), leaf);
                }
            }
        }
        let mut object = Map::from_iter([("callers".to_owned(), Value::Object(callers))]);
        object.extend(beside.into_iter().map(|(subject, own)| (subject.name().to_owned(), Value::Object(own))));
        object
    }

    fn numbers(&self) -> Vec<usize> {
        let mut numbers: Vec<usize> = self.0.iter().map(|round| round.callers).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }

    fn of(&self, subject: Subject, callers: usize) -> Vec<&Round> {
        self.0.iter().filter(|round| (round.subject, round.callers) == (subject, callers)).collect()
    }

    fn leaf(&self, subject: Subject, callers: usize) -> Option<Value> {
        let own = self.of(subject, callers);
        if own.is_empty() {
            return None;
        }
        let rate = match subject {
            Subject::Unary | Subject::Stream => "authorizations_per_second",
            Subject::Etcd => "puts_per_second",
            Subject::Echo => "calls_per_second",
        };
        let of = |value: fn(&Round) -> f64| median(own.iter().map(|round| value(round)));
        let mut leaf = Map::new();
        let mut put = |name: &str, value: Value| leaf.insert(name.to_owned(), value);
        put(rate, json!(of(|round| round.per_second).map(f64::round)));
        put("p50_us", json!(of(|round| round.p50_us as f64)));
        put("p99_us", json!(of(|round| round.p99_us as f64)));
        put("p999_us", json!(of(|round| round.p999_us as f64)));
        if matches!(subject, Subject::Unary | Subject::Stream) {
            // Rounds are measured in turns: each is divided by its own neighbour.
            let ratio = |beside: Subject, value: fn(&Round) -> f64| {
                let beside = self.of(beside, callers);
                median(own.iter().zip(beside).map(|(own, beside)| value(own) / value(beside))).map(hundredths)
            };
            put("etcd_ratio", json!(ratio(Subject::Etcd, |round| round.per_second)));
            put("etcd_p99_ratio", json!(ratio(Subject::Etcd, |round| round.p99_us as f64)));
            put("echo_ratio", json!(ratio(Subject::Echo, |round| round.per_second)));
        }
        let parts: Vec<&str> = own[0].used.cpu_us.keys().copied().collect();
        let mut cpu = Map::new();
        for part in parts {
            let each = median(own.iter().map(|round| round.cpu_each_us().get(part).copied().unwrap_or_default()));
            cpu.insert(part.to_owned(), json!(each.map(hundredths)));
        }
        let sum = median(own.iter().map(|round| round.cpu_each_us().values().sum()));
        cpu.insert("all".to_owned(), json!(sum.map(hundredths)));
        put("cpu_us_each", Value::Object(cpu));
        let written = |round: &Round| round.used.written_bytes.values().sum::<u64>() as f64 / round.count.max(1) as f64;
        put("written_bytes_each", json!(median(own.iter().map(|round| written(round))).map(f64::round)));
        put("other_processes_cores", json!(of(Round::others_cores).map(hundredths)));
        put("rounds", json!(own.len()));
        Some(Value::Object(leaf))
    }
}

/// The object as a table.
pub fn table(object: &Map<String, Value>) -> String {
    let mut lines = vec![format!(
        "{:>7}  {:<7} {:>9} {:>8} {:>8} {:>8}  {:>6} {:>8} {:>6}  {:>8}",
        "callers", "what", "per s", "p50 ms", "p99 ms", "p999 ms", "× etcd", "p99×etcd", "× echo", "cpu µs"
    )];
    let callers = object.get("callers").and_then(Value::as_object).into_iter().flatten();
    // Names are digits: shorter ones are smaller.
    let mut callers: Vec<_> = callers.collect();
    callers.sort_by_key(|(number, _)| (number.len(), (*number).clone()));
    for (number, own) in callers {
        let beside = ["echo", "etcd"].map(|name| (name, object.get(name).and_then(|all| all.get(number))));
        let own = ["unary", "stream"].map(|name| (name, own.get(name)));
        for (name, leaf) in beside.into_iter().chain(own) {
            let Some(leaf) = leaf else { continue };
            let number_of = |names: &[&str]| names.iter().find_map(|name| leaf.get(name)?.as_f64());
            let ms = |name: &str| number_of(&[name]).map_or_else(String::new, |us| format!("{:.2}", us / 1000.0));
            let ratio = |name: &str| number_of(&[name]).map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
            let rate = number_of(&["authorizations_per_second", "puts_per_second", "calls_per_second"]);
            let cpu = leaf.get("cpu_us_each").and_then(|cpu| cpu.get("all")?.as_f64());
            lines.push(format!(
                "{number:>7}  {name:<7} {:>9.0} {:>8} {:>8} {:>8}  {:>6} {:>8} {:>6}  {:>8.1}",
                rate.unwrap_or_default(),
                ms("p50_us"),
                ms("p99_us"),
                ms("p999_us"),
                ratio("etcd_ratio"),
                ratio("etcd_p99_ratio"),
                ratio("echo_ratio"),
                cpu.unwrap_or_default(),
            ));
        }
    }
    lines.join("\n")
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        length if length % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn ms(us: u64) -> String {
    format!("{:.2} ms", us as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::drive::latencies;

    fn round(subject: Subject, answers: u64) -> Round {
        let mut own = latencies();
        own.record_n(1000, answers).expect("in range");
        let used = Used { cpu_us: BTreeMap::from([("leader", answers * 10)]), ..Used::default() };
        Round::new(subject, 128, &own, 1.0, used, 0.0)
    }

    #[test]
    fn each_round_is_divided_by_its_own_neighbour() {
        let rates = [(100, 200), (100, 50), (300, 100)];
        let pairs = rates.map(|(etcd, unary)| [round(Subject::Etcd, etcd), round(Subject::Unary, unary)]);
        let object = Rounds(pairs.into_iter().flatten().collect()).object();
        let unary = &object["callers"]["128"]["unary"];
        // Ratios 2, 1/2 and 1/3.
        assert_eq!(unary["etcd_ratio"], json!(0.5));
        assert_eq!(unary["authorizations_per_second"], json!(100.0));
        assert_eq!(unary["echo_ratio"], Value::Null);
        assert_eq!(unary["cpu_us_each"], json!({ "leader": 10.0, "all": 10.0 }));
        assert_eq!(object["etcd"]["128"]["puts_per_second"], json!(100.0));
        assert!(table(&object).contains("unary"));
    }
}
