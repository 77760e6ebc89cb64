//! Which version of a policy a group gets: what the folder holds, what is in force, what is tried, and what operators and rules
//! have said. Where versions stand is changed in a draft, like all else of a build, and kept when the build is put in force.

mod judged;
mod older;
mod place;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::oneshot;

use judged::judged;
use older::Past;
pub(super) use place::Place;

use super::components::Components;
use super::folder::Contents;
use crate::builtin_policies::SHIPPED;
use crate::moment::Moment;
use crate::policy::{Component, Digest, Role};
use crate::rollout::{Action, Asked, Change, Control, Mode, Order, Standing, StateFolder};
use crate::snapshot::GroupRuntime;

/// Digits of a digest that name a version at least.
const PREFIX: usize = 6;

/// Where the versions of all groups stand, and where that is kept.
pub(super) struct Rollouts {
    control: Arc<Control>,
    folder: Option<Arc<StateFolder>>,
    /// The folder that was asked for first, and why it is not used, where it is not.
    asked: Option<(Option<PathBuf>, Option<String>)>,
    standings: BTreeMap<String, Standing>,
}

/// What there is under a policy's name.
#[derive(Clone)]
pub(super) enum Offered {
    /// The folder's, or the one built in.
    File(Arc<Component>),
    /// The folder's cannot be used: each group keeps its versions. Where it has none, it gets this one, which decides elsewhere.
    Broken(Arc<Component>),
}

impl Offered {
    /// A component of this name.
    pub(super) const fn component(&self) -> &Arc<Component> {
        match self {
            Self::File(component) | Self::Broken(component) => component,
        }
    }
}

/// What one build changes about versions.
#[derive(Default)]
pub(super) struct RolloutDraft {
    orders: Vec<Order>,
    standings: BTreeMap<String, Standing>,
    changes: Vec<Change>,
    answers: Vec<Answer>,
    /// Bytes of versions that are in force or tried for the first time.
    bytes: BTreeMap<Digest, Vec<u8>>,
    /// Whether versions stand elsewhere than before.
    moved: bool,
    pub(super) problems: Vec<String>,
}

struct Answer {
    key: String,
    reply: oneshot::Sender<Result<String, String>>,
    words: String,
}

/// The versions a group gets in one role.
pub(super) struct Chosen {
    /// The one in force.
    pub(super) live: Arc<Component>,
    /// The one that is tried, and how.
    pub(super) tried: Option<(Arc<Component>, Mode)>,
    /// Whether the rules had judged what was tried before: one that is tried now begins anew.
    pub(super) judged: bool,
    /// Whose wish it is that it is tried.
    by: &'static str,
}

/// What is at hand while versions are chosen.
pub(super) struct Steps<'b> {
    pub(super) rollouts: &'b Rollouts,
    pub(super) components: &'b mut Components,
    pub(super) draft: &'b mut RolloutDraft,
}

impl Rollouts {
    pub(super) const fn new(control: Arc<Control>) -> Self {
        Self { control, folder: None, asked: None, standings: BTreeMap::new() }
    }

    pub(super) const fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// A build begins: it obeys the orders that wait.
    pub(super) fn begin(&self) -> RolloutDraft {
        RolloutDraft { orders: self.control.take(), ..RolloutDraft::default() }
    }

    /// Opens the folder, once: `configured`, else `default`. Without one, versions are known as long as the process runs.
    pub(super) fn open(&mut self, configured: Option<PathBuf>, default: Option<PathBuf>, draft: &mut RolloutDraft) {
        let must = configured.is_some();
        let wanted = configured.or(default);
        if let Some((first, problem)) = &self.asked {
            draft.problems.extend(problem.clone());
            if *first != wanted {
                let first = first.as_ref().map_or_else(|| "none".to_owned(), |path| path.display().to_string());
                draft.problems.push(format!("`state_dir` stays {first} until the gateway is started again"));
            }
            return;
        }
        let opened = wanted.as_deref().map(StateFolder::open).transpose();
        let problem = match opened {
            Ok(folder) => {
                self.folder = folder.map(Arc::new);
                None
            }
            Err(problem) => {
                // Nobody asked for the default one: what it is for is missed, and nothing else.
                let told = problem.replace("\nhint: ", "; hint: ");
                tracing::warn!("versions of policies and what they learn are not kept: {told}");
                Some(problem).filter(|_| must)
            }
        };
        draft.problems.extend(problem.clone());
        if let Some(folder) = &self.folder {
            match folder.standings() {
                Ok(standings) => self.standings = standings,
                Err(problem) => draft.problems.push(problem),
            }
            self.control.history.add(folder.history());
            self.control.states.keep_in(Arc::clone(folder));
        }
        self.asked = Some((wanted, problem));
    }

    /// Puts what was changed in force, and keeps it.
    pub(super) fn commit(&mut self, mut draft: RolloutDraft, generation: u64, now: Moment) {
        for change in &mut draft.changes {
            change.at_ms = now.as_millis();
            change.generation = generation;
            tell(change);
        }
        self.control.history.add(draft.changes.iter().cloned());
        let changed = self.standings != draft.standings;
        self.standings = std::mem::take(&mut draft.standings);
        if let Some(folder) = self.folder.as_ref().filter(|_| changed || !draft.changes.is_empty())
            && let Err(fault) = self.keep(folder, &draft)
        {
            let folder = folder.path().display();
            tracing::warn!(%folder, %fault, "versions of policies could not be kept");
        }
        for answer in draft.answers {
            self.control.obeyed(answer.reply, answer.words);
        }
    }

    fn keep(&self, folder: &StateFolder, draft: &RolloutDraft) -> std::io::Result<()> {
        for (digest, bytes) in &draft.bytes {
            folder.keep(*digest, bytes)?;
        }
        folder.keep_standings(&self.standings)?;
        folder.add_history(&draft.changes)?;
        let used = |standing: &Standing| {
            [Some(standing.live), standing.previous, standing.asked.map(|asked| asked.digest)].into_iter().flatten()
        };
        let mut in_use: BTreeSet<Digest> = self.standings.values().flat_map(used).collect();
        in_use.extend(draft.bytes.keys());
        folder.prune(&in_use, &self.control.history.of(None));
        Ok(())
    }
}

fn tell(change: &Change) {
    let Change { generation, group, role, policy, digest, how, by, result, from, .. } = change;
    let digest = digest.short();
    let moved = match from {
        Some(from) => format!("{} → {digest}", from.short()),
        None => digest,
    };
    tracing::info!(%how, %by, %role, %result, "generation {generation}: group {group}: {policy} {moved}");
}

impl RolloutDraft {
    /// Whether the versions of any group change.
    pub(super) fn changes(&self) -> bool {
        self.moved || !self.changes.is_empty()
    }

    /// Begins from where versions stand.
    pub(super) fn start_from(&mut self, rollouts: &Rollouts) {
        self.standings.clone_from(&rollouts.standings);
    }

    /// All groups have chosen: those that are no more are forgotten, and what is new in use is put down to be kept.
    pub(super) fn finish<'g>(
        &mut self,
        groups: impl Iterator<Item = &'g str>,
        contents: &Contents,
        rollouts: &Rollouts,
    ) {
        let groups: BTreeSet<&str> = groups.collect();
        self.standings.retain(|key, _| key.split_once('/').is_some_and(|(_, group)| groups.contains(group)));
        self.moved = self.standings != rollouts.standings;
        for order in std::mem::take(&mut self.orders) {
            let Order { group, role, policy, .. } = &order;
            let words = match (policy, role) {
                (Some(policy), _) => format!("group `{group}` has no {} named `{policy}`", role.as_str()),
                (None, Role::Provider) => {
                    format!("group `{group}` has no provider policy, or several: name one with `policy` (--policy)")
                }
                (None, _) => format!("group `{group}` has no {}", role.as_str()),
            };
            let _nobody_waits = order.reply.send(Err(words));
        }
        for change in &self.changes {
            let given = contents.get(change.policy.as_str()).and_then(|bytes| bytes.as_deref().ok());
            let shipped = SHIPPED.iter().find(|(name, _)| *name == change.policy).map(|(_, bytes)| *bytes);
            let bytes = [given, shipped].into_iter().flatten().find(|bytes| Digest::of(bytes) == change.digest);
            if let Some(bytes) = bytes {
                self.bytes.insert(change.digest, bytes.to_vec());
            }
        }
    }

    /// The build has failed, and with it every order.
    pub(super) fn refuse(self, problems: &[String]) {
        let words = format!("nothing was changed, because the configuration cannot be built: {}", problems.join("; "));
        let waiting = self.orders.into_iter().map(|order| order.reply);
        for reply in self.answers.into_iter().map(|answer| answer.reply).chain(waiting) {
            let _nobody_waits = reply.send(Err(words.clone()));
        }
    }

    /// A version that was to be tried cannot be: whoever asked for it is told.
    fn give_up(&mut self, key: &str, problem: &str) {
        let (failed, others) = std::mem::take(&mut self.answers).into_iter().partition(|answer| answer.key == key);
        self.answers = others;
        for answer in failed {
            let _nobody_waits = answer.reply.send(Err(problem.to_owned()));
        }
        if let Some(standing) = self.standings.get_mut(key) {
            standing.asked = None;
        }
    }
}

impl Steps<'_> {
    /// The versions for one place, whose policy's file is `offered`.
    pub(super) fn choose(&mut self, place: Place<'_>, offered: &Offered) -> Chosen {
        let file = offered.component();
        let policy = file.name().as_str();
        let key = place.key(policy);
        let (mut standing, begun) = match self.draft.standings.get(&key) {
            Some(known) if known.policy == policy => (known.clone(), None),
            Some(other) => {
                let mut change = place.change(policy, file.digest(), "replace", "configuration");
                change.from = Some(other.live);
                (Standing::new(policy, file.digest()), Some(change))
            }
            None => {
                let change = place.change(policy, file.digest(), "start", "file");
                (Standing::new(policy, file.digest()), Some(change))
            }
        };
        let known_file = *standing.file.get_or_insert(file.digest());
        // One that cannot be used changes nothing: the file of before counts.
        let in_file = if matches!(offered, Offered::Broken(_)) { known_file } else { file.digest() };
        let verdict = judged(place, &mut standing);
        let judged = verdict.is_some();
        let mut changes: Vec<Change> = begun.into_iter().chain(verdict).collect();
        for order in self.orders_for(place, policy) {
            let (words, reply) = (self.obey(place, &order, &mut standing, file), order.reply);
            match words {
                Ok((obeyed, words)) => {
                    changes.extend(obeyed);
                    self.draft.answers.push(Answer { key: key.clone(), reply, words });
                }
                Err(why) => drop(reply.send(Err(why))),
            }
        }
        let before = standing.live;
        let mut tried = standing.settle(in_file, &place.roll_out());
        if standing.live != before {
            changes.push(Change { from: Some(before), ..place.change(policy, standing.live, "replace", "file") });
        }
        let live = match self.component(place, standing.live, file) {
            Ok(live) => live,
            Err(problem) => {
                let short = standing.live.short();
                self.draft.problems.push(format!(
                    "group `{}`: version {short} of `{policy}`, which was in force, is not there any more ({problem}); the folder's decides",
                    place.group.name
                ));
                let from = Some(standing.live);
                changes.push(Change { from, ..place.change(policy, file.digest(), "replace", "file") });
                standing = Standing::new(policy, file.digest());
                tried = None;
                Arc::clone(file)
            }
        };
        let tried = tried.and_then(|(digest, mode)| match self.component(place, digest, file) {
            Ok(component) => Some((component, mode)),
            Err(problem) => {
                self.draft.problems.push(format!("group `{}`: {problem}", place.group.name));
                standing.asked = None;
                None
            }
        });
        let asked = standing.asked.map(|asked| asked.digest);
        let by = match &tried {
            Some((component, _)) if asked == Some(component.digest()) => "operator",
            _ => "file",
        };
        self.draft.changes.append(&mut changes);
        self.draft.standings.insert(key, standing);
        Chosen { live, tried, judged, by }
    }

    /// A version begins to be tried that was not before.
    pub(super) fn begun(&mut self, place: Place<'_>, chosen: &Chosen) {
        let Some((component, mode)) = &chosen.tried else { return };
        let result = match mode {
            Mode::Shadow => String::new(),
            Mode::Canary(rules) => format!("{} % of the requests", rules.share * 100.0),
        };
        let change = place.change(component.name().as_str(), component.digest(), mode.as_str(), chosen.by);
        self.draft.changes.push(Change { from: Some(chosen.live.digest()), result, ..change });
    }

    /// A version cannot be tried. The one in force decides on.
    pub(super) fn cannot_try(&mut self, place: Place<'_>, policy: &str, problem: &str) {
        let told = format!("group `{}`: the new version cannot be tried: {problem}", place.group.name);
        self.draft.give_up(&place.key(policy), &told);
        self.draft.problems.push(told);
    }

    fn orders_for(&mut self, place: Place<'_>, policy: &str) -> Vec<Order> {
        let mine = |order: &Order| {
            let named = order.policy.as_deref().map_or_else(|| place.is_alone(), |name| name == policy);
            order.group == place.group.name && order.role == place.role && named
        };
        let (mine, others) = std::mem::take(&mut self.draft.orders).into_iter().partition(mine);
        self.draft.orders = others;
        mine
    }

    /// What an operator wants done.
    ///
    /// # Errors
    /// Why it cannot be.
    fn obey(
        &mut self,
        place: Place<'_>,
        order: &Order,
        standing: &mut Standing,
        file: &Arc<Component>,
    ) -> Result<(Option<Change>, String), String> {
        let policy = standing.policy.clone();
        // What whoever gave the order saw, and not what has come into the folder since. One that took over meanwhile is tried no more.
        let seen = order.tried.or_else(|| standing.tried(&place.roll_out()));
        let tried = seen.filter(|seen| *seen != standing.live);
        let named = order.to.as_deref().map(|prefix| self.named(prefix, standing, file)).transpose()?;
        let past = Past::of(self.rollouts.control.history.of(None), &place.change(&policy, standing.live, "", ""));
        let waiting = seen.or(standing.refused.filter(|refused| Some(*refused) == standing.file));
        let target = match (order.action, named, tried) {
            (Action::Rollback, None, Some(tried)) => {
                standing.give_up(tried);
                let live = standing.live;
                let change = Change { from: Some(tried), ..place.change(&policy, live, "rollback", "operator") };
                let words =
                    format!("{policy} {} is given up; {} decides until the file changes", tried.short(), live.short());
                return Ok((Some(change), words));
            }
            (Action::Rollback, None, None) => standing
                .previous
                .filter(|version| !past.left().contains(version))
                .ok_or("no older version is known; name one with `to` (--to)")?,
            (_, Some(named), _) => named,
            (Action::Promote, None, _) => waiting.ok_or("there is no version that waits to be promoted; name one")?,
            (Action::Shadow | Action::Canary, None, _) => waiting.ok_or("there is no version to try; name one")?,
        };
        if target == standing.live {
            return Err(format!("{policy} {} is in force already", target.short()));
        }
        self.component(place, target, file)?;
        match order.action {
            Action::Promote | Action::Rollback => {
                let from = Some(standing.live);
                if order.action == Action::Rollback {
                    let mut rolled_back = past.left();
                    rolled_back.insert(standing.live);
                    let previous = past.before(target, &rolled_back).filter(|kept| self.is_kept(*kept, file));
                    standing.roll_back_to(target, previous);
                } else {
                    standing.put_in_force(target);
                }
                let until =
                    if Some(target) == standing.file { "" } else { " until the file changes or another is promoted" };
                let words = format!("{policy} {} is in force{until}", target.short());
                let change = place.change(&policy, target, order.action.as_str(), "operator");
                Ok((Some(Change { from, ..change }), words))
            }
            Action::Shadow | Action::Canary => {
                place.tries(order.action)?;
                standing.asked = Some(Asked { digest: target, canary: order.action == Action::Canary });
                // What the folder holds does not come before what was asked for.
                if standing.file.is_some_and(|file| file != target && file != standing.live) {
                    standing.refused = standing.file;
                }
                let words = format!("{policy} {} is tried as a {}", target.short(), order.action.as_str());
                Ok((None, words))
            }
        }
    }

    /// Whether a version can be had again, without making it ready.
    fn is_kept(&self, digest: Digest, file: &Arc<Component>) -> bool {
        file.digest() == digest || self.rollouts.folder.as_ref().is_some_and(|folder| folder.keeps(digest))
    }

    /// The version that these first digits of a digest name.
    fn named(&self, prefix: &str, standing: &Standing, file: &Arc<Component>) -> Result<Digest, String> {
        if prefix.len() < PREFIX {
            return Err(format!("`{prefix}` is too short: name a version by {PREFIX} digits of its digest or more"));
        }
        let history = self.rollouts.control.history.of(None);
        let mut known: BTreeSet<Digest> =
            history.iter().filter(|change| change.policy == standing.policy).map(|change| change.digest).collect();
        known.extend([standing.live, file.digest()]);
        known.extend(standing.previous.into_iter().chain(standing.file));
        let mut found = known.into_iter().filter(|digest| digest.to_string().starts_with(prefix));
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one),
            (None, _) => Err(format!("no version of `{}` begins with {prefix}", standing.policy)),
            (Some(_), Some(_)) => Err(format!("several versions of `{}` begin with {prefix}", standing.policy)),
        }
    }

    /// A version by its digest: the folder's, one in service, or one that was kept.
    ///
    /// # Errors
    /// It is nowhere.
    fn component(&mut self, place: Place<'_>, digest: Digest, file: &Arc<Component>) -> Result<Arc<Component>, String> {
        if file.digest() == digest {
            return Ok(Arc::clone(file));
        }
        let in_service = |component: &&Arc<Component>| component.digest() == digest && component.name() == file.name();
        if let Some(component) = place.before.into_iter().flat_map(GroupRuntime::components).find(in_service) {
            return Ok(Arc::clone(component));
        }
        let folder = self.rollouts.folder.as_ref();
        let folder = folder.ok_or("versions are not kept, because the gateway has no folder for state")?;
        self.components.load(file.name(), &folder.read(digest)?)
    }
}
