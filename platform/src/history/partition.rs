//! What partitions are called, and which days they hold.

use chrono::NaiveDate;

use crate::config::RetentionConfig;

/// A table with a partition for each day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// What has happened.
    Events,
    /// What tasks and workers logged.
    ExecutionLogs,
}

impl Table {
    /// Every such table.
    pub const ALL: [Self; 2] = [Self::Events, Self::ExecutionLogs];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::ExecutionLogs => "execution_logs",
        }
    }

    /// The partition that holds what no other one does.
    pub const fn default_partition(self) -> &'static str {
        match self {
            Self::Events => "events_default",
            Self::ExecutionLogs => "execution_logs_default",
        }
    }

    /// How many days are kept before today.
    pub const fn retention_days(self, retention: &RetentionConfig) -> i32 {
        match self {
            Self::Events => retention.event_retention_days,
            Self::ExecutionLogs => retention.log_retention_days,
        }
    }
}

/// A day in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Day(NaiveDate);

impl From<NaiveDate> for Day {
    fn from(date: NaiveDate) -> Self {
        Self(date)
    }
}

impl Day {
    /// Reads a day as partitions are named after it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let is_plain = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_digit());
        is_plain
            .then(|| NaiveDate::parse_from_str(text, "%Y%m%d").ok())
            .flatten()
            .map(Self)
    }

    /// This many days later.
    pub(super) fn plus(self, days: i64) -> Self {
        Self(self.0 + chrono::TimeDelta::days(days))
    }

    /// This day and so many after it.
    pub(super) fn following(self, days: i64) -> impl Iterator<Item = Self> {
        (0..=days).map(move |later| self.plus(later))
    }

    /// Its first moment, as PostgreSQL reads it.
    pub(super) fn begins_at(self) -> String {
        self.0.format("%Y-%m-%d 00:00:00+00").to_string()
    }
}

/// The partition of a table for a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Partition {
    pub(super) table: Table,
    pub(super) day: Day,
}

impl Partition {
    /// Its name, such as `events_20260131`.
    pub(super) fn name(&self) -> String {
        format!("{}_{}", self.table.name(), self.day.0.format("%Y%m%d"))
    }

    /// The partition of a name; none for the default partition and for tables that are not ours.
    pub(super) fn of_name(table: Table, name: &str) -> Option<Self> {
        let day = name.strip_prefix(table.name())?.strip_prefix('_')?;
        Day::parse(day).map(|day| Self { table, day })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_named_after_their_day_and_found_again() {
        let partition = Partition {
            table: Table::ExecutionLogs,
            day: Day::parse("20260131").unwrap(),
        };
        assert_eq!(partition.name(), "execution_logs_20260131");
        assert_eq!(
            Partition::of_name(Table::ExecutionLogs, &partition.name()),
            Some(partition)
        );
        assert_eq!(partition.day.plus(1).begins_at(), "2026-02-01 00:00:00+00");
    }

    #[test]
    fn other_tables_are_not_taken_for_partitions() {
        for name in [
            "events_default",
            "events_2026013",
            "events_20261399",
            "events_20260131; drop table x",
            "execution_logs_20260131",
        ] {
            assert_eq!(Partition::of_name(Table::Events, name), None);
        }
    }
}
