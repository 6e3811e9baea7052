//! What readers of the log may ask for.

use protocol::{
    ExecutionBackend, LogCategory, LogLevel, LogSource, LogStatus, Timestamp, ToolOwner,
};
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use super::store::{Filter, Order};
use super::wire::{Detail, rank};
use crate::error::Error;
use crate::http::{Caller, Cursor, csv, csv_words};

/// Entries on a page unless given.
const PER_PAGE_DEFAULT: i64 = 100;
/// Entries on a page at most.
const PER_PAGE_MAX: i64 = 500;
/// Longest text that is searched for, in characters.
const SEARCH_LENGTH_MAX: usize = 200;

/// Which entries are wanted.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct LogQuery {
    /// Sources, separated by commas.
    source: Option<String>,
    /// Categories, separated by commas.
    category: Option<String>,
    /// Operations, separated by commas; a trailing `*` stands for anything.
    operation: Option<String>,
    /// Statuses, separated by commas. The word of a level stands for exactly that level.
    status: Option<String>,
    /// Roles, separated by commas.
    role: Option<String>,
    /// Kinds of actors, separated by commas.
    actor_type: Option<String>,
    /// Actors, separated by commas.
    actor_id: Option<String>,
    /// Where the task runs, separated by commas.
    execution_backend: Option<String>,
    /// Whose tool it was, separated by commas.
    tool_owner: Option<String>,
    /// The workspace it is about.
    workspace_id: Option<Uuid>,
    /// The workflow it is about.
    workflow_id: Option<Uuid>,
    /// The work item it is about.
    work_item_id: Option<Uuid>,
    /// The task it is about.
    task_id: Option<Uuid>,
    /// The attempt it belongs to.
    attempt: Option<i32>,
    /// The stage of the workflow.
    stage_name: Option<String>,
    /// The trace it belongs to.
    trace_id: Option<Uuid>,
    /// The least level.
    #[param(inline)]
    level: Option<LogLevel>,
    /// Text in the operation, the payload or the error, in any case.
    #[param(max_length = 200)]
    search: Option<String>,
    /// What arrived at this moment or later. The last 24 hours unless given, or unless a task or a
    /// cursor is named.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// What arrived before this moment.
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// Go on behind this entry: an `id` or `next_cursor` of an earlier answer.
    cursor: Option<String>,
    /// How many entries a page has, 1 to 500; 100 unless given.
    #[param(minimum = 1, maximum = 500)]
    per_page: Option<i64>,
    /// Which end comes first: `desc`, the newest, unless given.
    #[param(inline)]
    order: Option<OrderWord>,
    /// `summary` leaves out payloads and stacks.
    #[param(inline)]
    detail: Option<DetailWord>,
}

/// Which end of the log comes first.
#[derive(Clone, Copy, Debug, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
enum OrderWord {
    /// The oldest.
    Asc,
    /// The newest.
    Desc,
}

/// How much of an entry is wanted.
#[derive(Clone, Copy, Debug, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
enum DetailWord {
    /// Everything.
    Full,
    /// No payload, and of an error no stack.
    Summary,
}

/// A page of the log, as it is asked for.
pub(super) struct Wanted {
    pub(super) filter: Filter,
    pub(super) cursor: Option<Cursor>,
    pub(super) per_page: i64,
    pub(super) order: Order,
    pub(super) detail: Detail,
}

impl LogQuery {
    /// Makes sense of the parameters.
    ///
    /// # Errors
    /// 400 that names the parameter.
    pub(super) fn wanted(&self, caller: &Caller) -> Result<Wanted, Error> {
        let per_page = self.per_page.unwrap_or(PER_PAGE_DEFAULT);
        if !(1..=PER_PAGE_MAX).contains(&per_page) {
            return Err(Error::invalid(format!(
                "per_page must be between 1 and {PER_PAGE_MAX}"
            )));
        }
        let cursor = self
            .cursor
            .as_deref()
            .map(|text| Cursor::parse("cursor", text))
            .transpose()?;
        let mut filter = self.filter(caller)?;
        filter.is_recent = cursor.is_none() && self.task_id.is_none();
        Ok(Wanted {
            filter,
            cursor,
            per_page,
            order: match self.order {
                Some(OrderWord::Asc) => Order::OldestFirst,
                Some(OrderWord::Desc) | None => Order::NewestFirst,
            },
            detail: match self.detail {
                Some(DetailWord::Summary) => Detail::Summary,
                Some(DetailWord::Full) | None => Detail::Full,
            },
        })
    }

    fn filter(&self, caller: &Caller) -> Result<Filter, Error> {
        let (statuses, levels) = statuses(self.status.as_deref())?;
        let workspaces = match (caller.workspace_filter(), self.workspace_id) {
            (None, asked) => asked.map(|workspace| vec![workspace]),
            (Some(allowed), None) => Some(allowed),
            (Some(allowed), Some(asked)) => {
                Some(allowed.into_iter().filter(|id| *id == asked).collect())
            }
        };
        if let Some(text) = &self.search
            && text.chars().count() > SEARCH_LENGTH_MAX
        {
            return Err(Error::invalid(format!(
                "search must have at most {SEARCH_LENGTH_MAX} characters"
            )));
        }
        Ok(Filter {
            task: self.task_id,
            attempt: self.attempt,
            workflow: self.workflow_id,
            work_item: self.work_item_id,
            trace: self.trace_id,
            workspaces,
            stage: self.stage_name.clone(),
            level_min: self.level.map(rank),
            levels,
            sources: words::<LogSource>("source", self.source.as_deref())?,
            categories: words::<LogCategory>("category", self.category.as_deref())?,
            operations: csv(self.operation.as_deref())
                .map(|operations| operations.iter().map(|name| operation(name)).collect()),
            statuses,
            roles: csv(self.role.as_deref()),
            actor_types: csv(self.actor_type.as_deref()),
            actors: csv(self.actor_id.as_deref()),
            backends: words::<ExecutionBackend>(
                "execution_backend",
                self.execution_backend.as_deref(),
            )?,
            tool_owners: words::<ToolOwner>("tool_owner", self.tool_owner.as_deref())?,
            search: self
                .search
                .as_deref()
                .map(|text| format!("%{}%", literal(text))),
            since: self.since.map(Timestamp::utc),
            until: self.until.map(Timestamp::utc),
            is_recent: false,
        })
    }
}

fn words<T>(parameter: &str, text: Option<&str>) -> Result<Option<Vec<String>>, Error>
where
    T: std::str::FromStr<Err = protocol::UnknownWord> + ToString,
{
    let words = csv_words::<T>(parameter, text)?;
    Ok(words.map(|words| words.iter().map(ToString::to_string).collect()))
}

/// Statuses, and the levels that stand among them.
type StatusesAndLevels = (Option<Vec<String>>, Option<Vec<i16>>);

fn statuses(text: Option<&str>) -> Result<StatusesAndLevels, Error> {
    let Some(words) = csv(text) else {
        return Ok((None, None));
    };
    let (mut statuses, mut levels) = (Vec::new(), Vec::new());
    for word in &words {
        match word.parse::<LogLevel>() {
            Ok(level) => levels.push(rank(level)),
            Err(_) => statuses.push(
                word.parse::<LogStatus>()
                    .map_err(|unknown| Error::invalid(format!("status: {unknown}")))?
                    .to_string(),
            ),
        }
    }
    Ok((Some(statuses), Some(levels)))
}

/// A text in which LIKE finds nothing special.
fn literal(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '%' | '_' | '\\') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

/// The pattern of an operation, which may end in `*`.
fn operation(name: &str) -> String {
    match name.strip_suffix('*') {
        Some(prefix) => format!("{}%", literal(prefix)),
        None => literal(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_trailing_star_is_special_in_an_operation() {
        assert_eq!(operation("command.*"), "command.%");
        assert_eq!(operation("100%_done"), "100\\%\\_done");
        assert_eq!(operation("a*b"), "a*b");
        assert_eq!(literal("back\\slash"), "back\\\\slash");
    }

    #[test]
    fn words_of_levels_may_stand_among_statuses() {
        let (statuses, levels) = statuses(Some("failed, warn,error")).unwrap();
        assert_eq!(statuses.unwrap(), ["failed"]);
        assert_eq!(levels.unwrap(), [2, 3]);
        assert!(super::statuses(Some("nonsense")).is_err());
    }
}
