//! Which version of a policy a group gets: what the folder holds, what is in force, what is tried, and what operators and rules
//! have said. Where versions stand is changed in a draft, like all else of a build, and kept when the build is put in force.

mod judged;
mod older;
mod orders;
mod place;
mod standings;
mod unkept;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::oneshot;

use judged::judged;
pub(super) use place::Place;
use unkept::Unkept;

use super::components::Components;
use super::folder::Contents;
use crate::builtin_policies::SHIPPED;
use crate::id::PolicyName;
use crate::moment::Moment;
use crate::policy::{Component, Digest, Role};
use crate::rollout::{Change, Control, Mode, Order, Standing, StateFolder};
use crate::snapshot::{GroupRuntime, Snapshot};

/// Where the versions of all groups stand, and where that is kept.
pub(super) struct Rollouts {
    control: Arc<Control>,
    folder: Option<Arc<StateFolder>>,
    /// The folder that was asked for first, and why it is not used, where it is not.
    asked: Option<(Option<PathBuf>, Option<String>)>,
    standings: BTreeMap<String, Standing>,
    /// Where no folder keeps versions: those in force, and those that are again where their group, or their name in it, comes back.
    live: BTreeMap<(PolicyName, Digest), Arc<Component>>,
    unkept: Unkept,
}

/// What there is under a policy's name.
#[derive(Clone)]
pub(super) enum Offered {
    /// The folder's, or the one built in.
    File(Arc<Component>),
    /// The folder's cannot be used, or is being compiled: each group keeps its versions. Where it has none, it gets this one, which decides
    /// elsewhere.
    Before(Arc<Component>),
    /// The folder has none any more: each group that has it keeps its versions, and no other gets any of them.
    Gone(Arc<Component>),
}

impl Offered {
    /// A component of this name.
    pub(super) const fn component(&self) -> &Arc<Component> {
        match self {
            Self::File(component) | Self::Before(component) | Self::Gone(component) => component,
        }
    }
}

/// What one build changes about versions.
#[derive(Default)]
pub(super) struct RolloutDraft {
    orders: Vec<Order>,
    standings: BTreeMap<String, Standing>,
    /// The keys of those that a group stands by in this build.
    in_place: BTreeSet<String>,
    /// The versions in force, which are held where no folder keeps them.
    live: Vec<Arc<Component>>,
    changes: Vec<Change>,
    answers: Vec<Answer>,
    /// Bytes of versions that are in force or tried for the first time.
    bytes: BTreeMap<Digest, Vec<u8>>,
    pub(super) problems: Vec<String>,
}

struct Answer {
    key: String,
    reply: oneshot::Sender<Result<String, String>>,
    words: String,
    /// Whether the order was to try a version.
    tries: bool,
}

/// The versions a group gets in one role.
pub(super) struct Chosen {
    /// The one in force.
    pub(super) live: Arc<Component>,
    /// The one that is tried, and how.
    pub(super) tried: Option<(Arc<Component>, Mode)>,
    /// Whether the rules had judged what was tried before: one that is tried now begins anew.
    pub(super) judged: bool,
    /// The version that was in force before this build, where one of this policy was.
    pub(super) left: Option<Digest>,
    /// Whether the one in force is gone back to in this build.
    pub(super) gone_back_to: bool,
    /// Whose wish it is that it is tried.
    by: &'static str,
    /// What goes on where the one in force, which the folder's file has just become, cannot be set up.
    instead: Option<Box<Instead>>,
    /// What is tried where an order of this build to try a version comes to nothing.
    unordered: Option<Box<Unordered>>,
}

/// Where versions stand, and which is tried and how, without an order to try another.
struct Unordered {
    standing: Standing,
    tried: Option<(Arc<Component>, Mode)>,
}

/// What a group keeps where the folder's version is to replace the one in force and cannot be set up: where versions stand without it.
struct Instead {
    standing: Standing,
    /// The one in force.
    live: Arc<Component>,
    /// The one that is tried, and how.
    tried: Option<(Arc<Component>, Mode)>,
    /// Whether the one in force is gone back to in this build.
    gone_back_to: bool,
}

/// What is at hand while versions are chosen.
pub(super) struct Steps<'b> {
    pub(super) rollouts: &'b Rollouts,
    pub(super) components: &'b mut Components,
    pub(super) draft: &'b mut RolloutDraft,
}

impl Rollouts {
    pub(super) fn new(control: Arc<Control>) -> Self {
        let (standings, live) = (BTreeMap::new(), BTreeMap::new());
        Self { control, folder: None, asked: None, standings, live, unkept: Unkept::default() }
    }

    pub(super) const fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// Whether a version of the policy whose file this is can be had again, without making it ready.
    fn keeps(&self, version: Digest, file: &Component) -> bool {
        version == file.digest()
            || self.live.contains_key(&(file.name().clone(), version))
            || self.folder.as_ref().is_some_and(|folder| folder.keeps(version))
    }

    /// Holds what no folder keeps, as long as it stands anywhere as the version in force.
    fn hold(&mut self, live: Vec<Arc<Component>>) {
        if self.folder.is_some() {
            return;
        }
        self.live.extend(live.into_iter().map(|component| ((component.name().clone(), component.digest()), component)));
        let standing: BTreeSet<(&str, Digest)> =
            self.standings.values().map(|standing| (standing.policy.as_str(), standing.live)).collect();
        self.live.retain(|(policy, digest), _| standing.contains(&(policy.as_str(), *digest)));
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
            self.control.history.recall(folder.history());
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
        draft.put_away(now);
        self.control.history.wait(draft.waiting());
        let changed = self.standings != draft.standings;
        self.standings = std::mem::take(&mut draft.standings);
        self.hold(std::mem::take(&mut draft.live));
        if let Some(folder) = &self.folder {
            self.unkept.add(&mut draft, changed);
            if let Err(fault) = self.unkept.write(folder, &self.standings, &self.control.history) {
                let folder = folder.path().display();
                tracing::warn!(%folder, %fault, "versions of policies could not be kept: it is tried again with the next build");
            }
        }
        for answer in draft.answers {
            self.control.obeyed(answer.reply, answer.words);
        }
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
    /// Whether anything happened to the versions of any group. A file that cannot be tried stands somewhere, and nothing more.
    pub(super) const fn changes(&self) -> bool {
        !self.changes.is_empty()
    }

    /// Begins from where versions stand.
    pub(super) fn start_from(&mut self, rollouts: &Rollouts) {
        self.standings.clone_from(&rollouts.standings);
    }

    /// All groups have chosen: what is new in use is put down to be kept.
    pub(super) fn finish(&mut self, contents: &Contents, previous: Option<&Snapshot>) {
        if let Some(previous) = previous {
            self.judge_gone(previous);
        }
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
        let tries_it = |answer: &Answer| answer.tries && answer.key == key;
        let (failed, others) = std::mem::take(&mut self.answers).into_iter().partition(tries_it);
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
        let rollouts = self.rollouts;
        let kept = |version| rollouts.keeps(version, file);
        let (mut standing, begun) = self.draft.stand(place, policy, file.digest(), kept);
        let left = begun.is_none().then_some(standing.live);
        let before = standing.file;
        let known_file = *standing.file.get_or_insert(file.digest());
        // One that cannot be used yet, or at all, or is gone, changes nothing: the file of before counts.
        let in_file = if matches!(offered, Offered::File(_)) { file.digest() } else { known_file };
        // What comes of a file that was there before is the doing of a `roll_out` that is another one.
        let by = if before == Some(in_file) { "configuration" } else { "file" };
        // One that begins here has judged nothing yet: what another policy's tries came to is that one's.
        let verdict = if begun.is_some() { None } else { judged(place, &mut standing) };
        let judged = verdict.is_some();
        let mut changes: Vec<Change> = begun.into_iter().chain(verdict).collect();
        let untried = self.obey_all(place, &mut standing, file, &mut changes);
        let unsettled = standing.clone();
        let before = standing.live;
        let mut tried = standing.settle(in_file, &place.roll_out());
        let replaces = standing.live != before;
        if replaces {
            changes.push(Change { from: Some(before), ..place.change(policy, standing.live, "replace", by) });
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
        let by = whose(place, tried.as_ref(), standing.asked.map(|asked| asked.digest));
        let goes_back_to = |digest: Digest| {
            let rolled_back_to = |change: &Change| change.how == "rollback" && change.digest == digest;
            left != Some(digest) && changes.iter().any(rolled_back_to)
        };
        let gone_back_to = goes_back_to(live.digest());
        let instead = (replaces && left.is_some()).then(|| goes_back_to(before));
        let instead = instead.and_then(|gone_back_to| self.instead(place, unsettled, file, gone_back_to));
        let unordered = untried.and_then(|before| self.unordered(place, before, (file, in_file), live.digest()));
        self.draft.changes.append(&mut changes);
        self.draft.live.push(Arc::clone(&live));
        self.draft.in_place.insert(key.clone());
        self.draft.standings.insert(key, standing);
        Chosen { live, tried, judged, left, gone_back_to, by, instead, unordered }
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

    /// What is tried beside `live` where versions stand as `before`, which no order has touched.
    fn unordered(
        &mut self,
        place: Place<'_>,
        mut before: Standing,
        (file, in_file): (&Arc<Component>, Digest),
        live: Digest,
    ) -> Option<Box<Unordered>> {
        let tried = before.settle(in_file, &place.roll_out());
        if before.live != live {
            return None;
        }
        let tried = tried.and_then(|(digest, mode)| Some((self.component(place, digest, file).ok()?, mode)));
        Some(Box::new(Unordered { standing: before, tried }))
    }

    /// Goes back to what is tried without an order that came to nothing, where there was one: it must end nothing.
    pub(super) fn take_back_order(&mut self, place: Place<'_>, chosen: Chosen) -> Option<Chosen> {
        let Chosen { live, judged, left, gone_back_to, unordered, .. } = chosen;
        let Unordered { standing, tried } = *unordered?;
        let by = whose(place, tried.as_ref(), standing.asked.map(|asked| asked.digest));
        self.draft.standings.insert(place.key(&standing.policy), standing);
        Some(Chosen { live, tried, judged, left, gone_back_to, by, instead: None, unordered: None })
    }

    /// What a place keeps where it decides by versions of this policy now. `standing` is as it was before the folder's version replaced the
    /// one in force in it.
    fn instead(
        &mut self,
        place: Place<'_>,
        mut standing: Standing,
        file: &Arc<Component>,
        gone_back_to: bool,
    ) -> Option<Box<Instead>> {
        let known = standing.file.filter(|_| place.has(file.name()))?;
        let before = standing.live;
        let tried = standing.settle(known, &place.roll_out());
        if standing.live != before {
            return None;
        }
        let live = self.component(place, before, file).ok()?;
        let tried = tried.and_then(|(digest, mode)| Some((self.component(place, digest, file).ok()?, mode)));
        Some(Box::new(Instead { standing, live, tried, gone_back_to }))
    }

    /// Goes back to what the place keeps in the stead of the folder's version, where it keeps anything: the version in force decides on, and the
    /// file of before counts.
    pub(super) fn take_back(&mut self, place: Place<'_>, chosen: Chosen) -> Option<Chosen> {
        let Chosen { live: refused, judged, left, instead, .. } = chosen;
        let Instead { standing, live, tried, gone_back_to } = *instead?;
        let (policy, refused) = (standing.policy.clone(), refused.digest());
        let put_in_force = |change: &Change| {
            let here = change.group == place.group.name.as_str() && change.role == place.role.as_str();
            here && change.policy == policy && change.how == "replace" && change.digest == refused
        };
        self.draft.changes.retain(|change| !put_in_force(change));
        self.draft.live.push(Arc::clone(&live));
        let by = whose(place, tried.as_ref(), standing.asked.map(|asked| asked.digest));
        self.draft.standings.insert(place.key(&policy), standing);
        Some(Chosen { live, tried, judged, left, gone_back_to, by, instead: None, unordered: None })
    }

    /// The folder's version cannot be put in force. The one of before (`live`) decides.
    pub(super) fn cannot_replace(&mut self, place: Place<'_>, live: Digest, problem: &str) {
        let (group, live) = (&place.group.name, live.short());
        let told = format!("group `{group}`: the new version cannot be put in force, and {live} decides on: {problem}");
        self.draft.problems.push(told);
    }

    /// A version by its digest: the folder's, one in service, one that is held, or one that was kept.
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
        if let Some(component) = self.rollouts.live.get(&(file.name().clone(), digest)) {
            return Ok(Arc::clone(component));
        }
        let folder = self.rollouts.folder.as_ref();
        let folder = folder.ok_or("versions are not kept, because the gateway has no folder for state")?;
        self.components.load(file.name(), &folder.read(digest)?)
    }
}

/// Whose wish it is that a version is tried.
fn whose(place: Place<'_>, tried: Option<&(Arc<Component>, Mode)>, asked: Option<Digest>) -> &'static str {
    match tried {
        Some((component, _)) if asked == Some(component.digest()) => "operator",
        // It was tried already, in another way.
        Some((component, _)) if place.tried() == Some(component.digest()) => "configuration",
        _ => "file",
    }
}
