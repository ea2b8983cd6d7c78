//! Medians, ratios, a table, JSON.

use std::fmt;

use serde_json::{Value, json};

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// Time.
    Milliseconds,
    /// Memory.
    Mebibytes,
    /// How often.
    Times,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Milliseconds => "ms",
            Self::Mebibytes => "MiB",
            Self::Times => "",
        })
    }
}

/// All results, in the order in which they were first measured.
#[derive(Debug)]
pub(super) struct Report {
    sides: Vec<&'static str>,
    rounds: usize,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    name: String,
    unit: Unit,
    /// Values of each side.
    values: Vec<Vec<f64>>,
}

impl Report {
    pub(super) fn new(sides: Vec<&'static str>, rounds: usize) -> Self {
        Self { sides, rounds, rows: Vec::new() }
    }

    /// Adds one measurement.
    pub(super) fn add(&mut self, name: &str, side: &str, unit: Unit, value: f64) {
        println!("   {side:<16} {name:<44} {value:>10.1} {unit}");
        let Some(column) = self.sides.iter().position(|known| *known == side) else { return };
        let row = match self.rows.iter().position(|row| row.name == name) {
            Some(row) => row,
            None => {
                self.rows.push(Row { name: name.to_owned(), unit, values: vec![Vec::new(); self.sides.len()] });
                self.rows.len() - 1
            }
        };
        self.rows[row].values[column].push(value);
    }

    /// Every value, the medians, and how many times the first side's median the best other is.
    pub(super) fn json(&self) -> String {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                let sides = self.sides.iter().zip(&row.values);
                let sides: serde_json::Map<String, Value> = sides
                    .map(|(side, values)| ((*side).to_owned(), json!({ "median": median(values), "values": values })))
                    .collect();
                json!({ "name": row.name, "unit": row.unit.to_string(), "sides": sides, "ratio": row.ratio() })
            })
            .collect();
        let kernel = fs_err::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let all = json!({ "rounds": self.rounds, "kernel": kernel.trim(), "processors": processors, "results": rows });
        format!("{all:#}\n")
    }
}

impl Row {
    /// The best median of the other sides over the first's.
    fn ratio(&self) -> Option<f64> {
        let (first, others) = self.values.split_first()?;
        let first = median(first).filter(|first| *first > 0.0)?;
        let best = others.iter().filter_map(|values| median(values)).min_by(f64::total_cmp)?;
        Some(best / first)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<46}", format!("median of {}", self.rounds))?;
        for side in &self.sides {
            write!(f, "{side:>20}")?;
        }
        writeln!(f, "{:>10}", if self.sides.len() > 1 { "ratio" } else { "" })?;
        for row in &self.rows {
            write!(f, "{:<46}", row.name)?;
            for values in &row.values {
                let value = median(values).map_or_else(|| "-".to_owned(), |value| format!("{value:.1} {}", row.unit));
                write!(f, "{value:>20}")?;
            }
            writeln!(f, "{:>10}", row.ratio().map(|ratio| format!("{ratio:.1}x")).unwrap_or_default())?;
        }
        Ok(())
    }
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        length if length % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_of_medians() {
        let mut report = Report::new(vec!["stack", "other"], 3);
        for (stack, other) in [(10.0, 200.0), (1000.0, 150.0), (9.0, 100.0)] {
            report.add("up", "stack", Unit::Milliseconds, stack);
            report.add("up", "other", Unit::Milliseconds, other);
        }
        assert_eq!(report.rows[0].ratio(), Some(15.0));
        let value: Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(value["results"][0]["sides"]["stack"]["median"], 10.0);
        assert!(report.to_string().contains("15.0x"));
    }

    #[test]
    fn an_even_number_of_values_has_a_median_between_two() {
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }
}
