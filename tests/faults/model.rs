//! Every order in which three agents and two tasks can get into each other's way, tried out.
//!
//! The model has one row for each task, as the database has, and what each agent believes to hold: also what it
//! has lost meanwhile, because it may have slept. Its guards are the platform's own: the table of moves, the
//! fence, and what becomes of a lost lease. Each variant lacks one guard, and must be found out. The hot
//! statements decide in SQL, so a second test lets the model and a platform make the same steps.

use std::collections::BTreeSet;

use stateright::{Checker as _, Model, Property};
use stint_platform::queue::{HeldTask, Report, Verdict};
use stint_platform::tasks::{after_lost_lease, judge, states_before};
use stint_protocol::{AgentId, TaskId, TaskMove, TaskState};
use uuid::Uuid;

use crate::wanted::Wanted;

const AGENTS: usize = 3;
const TASKS: usize = 2;
/// How many losses a task survives.
const ABANDONS_MAX: i32 = 1;

/// Which guard is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variant {
    /// None.
    Sound,
    /// Reports count for their agent, whatever attempt they come from.
    NoAttemptCheck,
    /// The loop that takes lost leases away first reads, and later writes what it has decided.
    ReadThenWriteRescue,
    /// A claim does not look at what its agent holds.
    UncountedCapacity,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct System {
    tasks: Vec<Row>,
    /// What each agent believes to hold: task and attempt.
    beliefs: Vec<BTreeSet<(usize, i32)>>,
    /// Tasks that the broken loop has found lost.
    found_lost: BTreeSet<usize>,
    /// What must never happen has happened.
    wrong: BTreeSet<Wrong>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Row {
    state: TaskState,
    attempt: i32,
    agent: usize,
    is_lease_over: bool,
    abandons: i32,
}

impl Row {
    fn is_held(&self) -> bool {
        matches!(self.state, TaskState::Claimed | TaskState::InProgress)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Wrong {
    /// A report counted although another attempt, or none, held the task.
    StaleReport,
    /// A lease was taken away that was not over.
    TakenAlive,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    Claim(usize),
    Report(usize, (usize, i32), Said),
    LeaseEnds(usize),
    /// The loop takes a lost lease away.
    Expire(usize),
    /// The broken loop reads that a lease is lost.
    FindLost(usize),
    Cancel(usize),
}

/// What an agent says of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Said {
    Start,
    Beat,
    Complete,
    Fail,
    Release,
}

const SAID: [Said; 5] = [
    Said::Start,
    Said::Beat,
    Said::Complete,
    Said::Fail,
    Said::Release,
];

impl Said {
    /// The move it asks for; a heartbeat asks for none.
    fn made(self) -> Option<TaskMove> {
        match self {
            Self::Start => Some(TaskMove::Start),
            Self::Beat => None,
            Self::Complete => Some(TaskMove::Complete),
            Self::Fail => Some(TaskMove::Fail),
            Self::Release => Some(TaskMove::Release),
        }
    }

    fn leads_to(self) -> TaskState {
        match self {
            Self::Start | Self::Beat => TaskState::InProgress,
            Self::Complete => TaskState::Completed,
            Self::Fail => TaskState::Failed,
            Self::Release => TaskState::Ready,
        }
    }
}

fn agent_id(agent: usize) -> AgentId {
    AgentId::of(Uuid::from_u128(agent as u128 + 1))
}

fn allows(made: TaskMove, state: TaskState) -> bool {
    states_before(made).contains(&state.as_str())
}

struct Queue {
    variant: Variant,
    /// Claims after which a task is not claimed again, so that there is an end of it.
    attempts_max: i32,
}

impl Queue {
    fn new(variant: Variant) -> Self {
        Self {
            variant,
            attempts_max: 2,
        }
    }

    fn first() -> System {
        let row = Row {
            state: TaskState::Ready,
            attempt: 0,
            agent: 0,
            is_lease_over: false,
            abandons: 0,
        };
        System {
            tasks: vec![row; TASKS],
            beliefs: vec![BTreeSet::new(); AGENTS],
            found_lost: BTreeSet::new(),
            wrong: BTreeSet::new(),
        }
    }

    /// What the platform's fence says of a report.
    fn counts(&self, row: &Row, agent: usize, task: usize, attempt: i32) -> bool {
        let held = row.is_held().then(|| HeldTask {
            task: TaskId::of(Uuid::from_u128(task as u128 + 1)),
            attempt: row.attempt,
            state: row.state,
            agent: agent_id(row.agent),
            worker: None,
            fenced: self.variant != Variant::NoAttemptCheck,
            is_cancelled: false,
            retry_count: 0,
            retry_policy: None,
        });
        let report = Report {
            task: TaskId::of(Uuid::from_u128(task as u128 + 1)),
            attempt: (self.variant != Variant::NoAttemptCheck).then_some(attempt),
            agent: Some(agent_id(agent)),
            worker: None,
            actor_type: "agent",
            actor: Uuid::nil(),
        };
        judge(&report, held.as_ref(), false) == Verdict::Moved
    }

    /// Makes a step; nothing when it changes nothing.
    fn step(&self, system: &System, step: Step) -> Option<System> {
        let mut next = system.clone();
        match step {
            Step::Claim(agent) => {
                let held = next
                    .tasks
                    .iter()
                    .position(|row| row.is_held() && row.agent == agent);
                // Of capacity 1: what it holds it gets back, as a new attempt.
                let counted = held.filter(|_| self.variant != Variant::UncountedCapacity);
                let is_ready =
                    |row: &Row| row.state == TaskState::Ready && row.attempt < self.attempts_max;
                let ready = || next.tasks.iter().position(is_ready);
                let task = counted.or_else(ready)?;
                let row = &mut next.tasks[task];
                if !allows(TaskMove::Claim, row.state) || row.attempt == self.attempts_max {
                    return None;
                }
                row.state = TaskState::Claimed;
                row.attempt += 1;
                row.agent = agent;
                row.is_lease_over = false;
                next.beliefs[agent].insert((task, row.attempt));
            }
            Step::Report(agent, (task, attempt), said) => {
                let row = &mut next.tasks[task];
                if !self.counts(row, agent, task, attempt) {
                    return None;
                }
                if (row.attempt, row.agent, row.is_held()) != (attempt, agent, true) {
                    next.wrong.insert(Wrong::StaleReport);
                }
                match said.made() {
                    Some(made) if !allows(made, row.state) => return None,
                    Some(_) => row.state = said.leads_to(),
                    None => {}
                }
                row.is_lease_over = false;
            }
            Step::LeaseEnds(task) => {
                let row = &mut next.tasks[task];
                if !row.is_held() || row.is_lease_over {
                    return None;
                }
                row.is_lease_over = true;
            }
            Step::FindLost(task) => {
                let row = &next.tasks[task];
                if self.variant != Variant::ReadThenWriteRescue
                    || !row.is_lease_over
                    || !row.is_held()
                {
                    return None;
                }
                next.found_lost.insert(task);
            }
            Step::Expire(task) => {
                let is_broken = self.variant == Variant::ReadThenWriteRescue;
                let row = &mut next.tasks[task];
                let is_due = match is_broken {
                    true => next.found_lost.remove(&task),
                    false => row.is_lease_over,
                };
                if !is_due || !allows(TaskMove::LoseLease, row.state) {
                    return None;
                }
                if !row.is_lease_over {
                    next.wrong.insert(Wrong::TakenAlive);
                }
                row.abandons += 1;
                row.state = after_lost_lease(row.abandons, ABANDONS_MAX, false);
                row.is_lease_over = false;
            }
            Step::Cancel(task) => {
                let row = &mut next.tasks[task];
                if !allows(TaskMove::Cancel, row.state) {
                    return None;
                }
                row.state = TaskState::Cancelled;
                row.is_lease_over = false;
            }
        }
        (next != *system).then_some(next)
    }

    fn steps(system: &System) -> Vec<Step> {
        let mut steps: Vec<Step> = (0..AGENTS).map(Step::Claim).collect();
        for (agent, beliefs) in system.beliefs.iter().enumerate() {
            for belief in beliefs {
                steps.extend(SAID.map(|said| Step::Report(agent, *belief, said)));
            }
        }
        for task in 0..TASKS {
            steps.extend([
                Step::LeaseEnds(task),
                Step::FindLost(task),
                Step::Expire(task),
                Step::Cancel(task),
            ]);
        }
        steps
    }
}

const NO_STALE_REPORT: &str = "a stale report changes nothing";
const NO_LIVE_LEASE_TAKEN: &str = "a lease that is not over is not taken away";
const CAPACITY: &str = "an agent of capacity 1 holds one task";
const NOT_STUCK: &str = "what has not ended can go on";
const COMPLETED_AFTER_LOSS: &str = "a task that was lost is completed by another";

impl Model for Queue {
    type State = System;
    type Action = Step;

    fn init_states(&self) -> Vec<System> {
        vec![Self::first()]
    }

    fn actions(&self, system: &System, steps: &mut Vec<Step>) {
        let all = Self::steps(system);
        steps.extend(
            all.into_iter()
                .filter(|step| self.step(system, *step).is_some()),
        );
    }

    fn next_state(&self, system: &System, step: Step) -> Option<System> {
        self.step(system, step)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(NO_STALE_REPORT, |_: &Self, system: &System| {
                !system.wrong.contains(&Wrong::StaleReport)
            }),
            Property::always(NO_LIVE_LEASE_TAKEN, |_: &Self, system: &System| {
                !system.wrong.contains(&Wrong::TakenAlive)
            }),
            Property::always(CAPACITY, |_: &Self, system: &System| {
                let held = |agent| {
                    system
                        .tasks
                        .iter()
                        .filter(move |row| row.is_held() && row.agent == agent)
                };
                (0..AGENTS).all(|agent| held(agent).count() <= 1)
            }),
            Property::always(NOT_STUCK, |model: &Self, system: &System| {
                let goes_on = |task: usize, row: &Row| match row.state {
                    TaskState::Ready => {
                        row.attempt == model.attempts_max
                            || (0..AGENTS)
                                .any(|agent| model.step(system, Step::Claim(agent)).is_some())
                    }
                    _ if row.is_held() => {
                        model.step(system, Step::LeaseEnds(task)).is_some() || row.is_lease_over
                    }
                    _ => true,
                };
                system
                    .tasks
                    .iter()
                    .enumerate()
                    .all(|(task, row)| goes_on(task, row))
            }),
            Property::sometimes(COMPLETED_AFTER_LOSS, |_: &Self, system: &System| {
                system
                    .tasks
                    .iter()
                    .any(|row| row.state == TaskState::Completed && row.abandons > 0)
            }),
        ]
    }
}

#[test]
fn no_order_of_steps_makes_the_queue_lose_or_double_anything() {
    let mut sound = Queue::new(Variant::Sound);
    sound.attempts_max = Wanted::read("model").either(3, 2);
    let checked = sound.checker().threads(2).spawn_bfs().join();
    checked.assert_properties();
    assert!(
        checked.unique_state_count() > 10_000,
        "hardly anything was tried"
    );
}

#[test]
fn each_guard_is_missed_when_it_is_taken_away() {
    for (variant, property) in [
        (Variant::NoAttemptCheck, NO_STALE_REPORT),
        (Variant::ReadThenWriteRescue, NO_LIVE_LEASE_TAKEN),
        (Variant::UncountedCapacity, CAPACITY),
    ] {
        let checked = Queue::new(variant).checker().threads(2).spawn_bfs().join();
        assert!(
            checked.discovery(property).is_some(),
            "{variant:?} was not found out"
        );
    }
}

mod beside_a_platform {
    use stint_protocol::{CancelTask, CreateTask, StartTask};
    use stint_tests::holder::{beat, completion, failure, release};
    use stint_tests::{Setup, TestPlatform, TestWorker, new_task};

    use super::*;
    use crate::dice::Dice;

    const WALKS: u64 = 12;
    const STEPS: usize = 14;

    /// Two tasks and three agents of a platform, which are nobody else's.
    struct Real<'a> {
        t: &'a TestPlatform,
        agents: Vec<TestWorker>,
        tasks: Vec<TaskId>,
    }

    impl<'a> Real<'a> {
        async fn of(t: &'a TestPlatform, number: u64) -> Self {
            let role = format!("walk-{number}");
            let mut agents = Vec::new();
            for agent in 0..AGENTS {
                let name = format!("{role}-{agent}");
                agents.push(t.worker(&name).tags(&[&format!("role:{role}")]).await);
            }
            let mut tasks = Vec::new();
            for _ in 0..TASKS {
                let task = CreateTask {
                    role: Some(role.clone()),
                    max_abandons: Some(ABANDONS_MAX),
                    ..new_task(&role)
                };
                tasks.push(t.admin().create_task(&task).await.expect("a task").id);
            }
            Self { t, agents, tasks }
        }

        /// Makes a step, and tells whether it was accepted.
        async fn step(&self, step: Step) -> bool {
            match step {
                Step::Claim(agent) => self.agents[agent].claim().await.is_some(),
                Step::Report(agent, (task, attempt), said) => {
                    self.report(agent, task, attempt, said).await
                }
                Step::LeaseEnds(_) | Step::FindLost(_) => true,
                Step::Expire(task) => {
                    self.t.lose_lease(self.tasks[task]).await;
                    true
                }
                Step::Cancel(task) => {
                    let cancel = CancelTask::default();
                    self.t
                        .admin()
                        .cancel_task(self.tasks[task], &cancel)
                        .await
                        .is_ok()
                }
            }
        }

        async fn report(&self, agent: usize, task: usize, attempt: i32, said: Said) -> bool {
            let (holder, id) = (&self.agents[agent], self.tasks[task]);
            let client = &holder.agent;
            match said {
                Said::Start => {
                    let start = StartTask {
                        attempt: Some(attempt),
                        ..StartTask::default()
                    };
                    client.start_task(id, &start).await.is_ok()
                }
                Said::Complete => client
                    .complete_task(id, &completion(attempt, "done"))
                    .await
                    .is_ok(),
                Said::Fail => client
                    .fail_task(id, &failure(attempt, "not_retried"))
                    .await
                    .is_ok(),
                Said::Release => client.release_task(id, &release(attempt)).await.is_ok(),
                Said::Beat => {
                    let answer = client
                        .heartbeat_agent(holder.agent_id, &beat(&[(id, attempt)]))
                        .await;
                    let answer = answer.expect("a heartbeat is answered");
                    answer.lost.is_empty() && answer.cancelled.is_empty()
                }
            }
        }

        async fn rows(&self) -> Vec<(TaskState, i32, i32)> {
            let mut rows = Vec::new();
            for id in &self.tasks {
                let task = self.t.admin().get_task(*id).await.expect("the task");
                rows.push((task.state, task.attempt, task.abandon_count));
            }
            rows
        }
    }

    #[test]
    fn the_platform_makes_the_steps_of_the_model() {
        Setup::new().patient(2).test(async |t| {
            let model = Queue {
                variant: Variant::Sound,
                attempts_max: 4,
            };
            for number in 0..WALKS {
                let mut dice = Dice::new(number);
                let real = Real::of(t, number).await;
                let mut system = Queue::first();
                let mut walked = Vec::new();
                for _ in 0..STEPS {
                    // Also steps that change nothing: the platform must refuse them too.
                    let mut steps = Queue::steps(&system);
                    steps.retain(|step| match step {
                        Step::FindLost(_) => false,
                        Step::LeaseEnds(_) | Step::Expire(_) => {
                            model.step(&system, *step).is_some()
                        }
                        Step::Claim(_) => system
                            .tasks
                            .iter()
                            .all(|row| row.attempt < model.attempts_max),
                        Step::Report(..) | Step::Cancel(_) => true,
                    });
                    let step = *dice.pick(&steps);
                    walked.push(step);
                    let next = model.step(&system, step);
                    let accepted = real.step(step).await;
                    if let Some(next) = &next {
                        assert!(accepted, "seed {number}: refused the last of {walked:?}");
                        system = next.clone();
                    }
                    let rows: Vec<_> = system
                        .tasks
                        .iter()
                        .map(|row| (row.state, row.attempt, row.abandons))
                        .collect();
                    assert_eq!(real.rows().await, rows, "seed {number}: after {walked:?}");
                }
                for task in 0..TASKS {
                    real.step(Step::Cancel(task)).await;
                }
            }
        });
    }
}
