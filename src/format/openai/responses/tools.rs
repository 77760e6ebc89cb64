//! Tools: functions are functions, those in a namespace too; other tools that the client runs (a custom one, whose input is a text,
//! its shell, its search for more tools) are functions for models that know no others; those that a provider runs itself are kept
//! whole.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use super::called::{Called, Kind, Names};
use crate::chat::{Rest, Tool, ToolChoice};
use crate::format::allowed;
use crate::format::json::Json;
use crate::format::read::{Fields, Mismatch, Path};

/// That a tool is shown only where a search finds it. None goes out, so that all of them are shown.
const DEFERRED: &str = "defer_loading";

/// The tools of a request, as models are shown them and as its client calls them.
#[derive(Default)]
pub(super) struct Toolbox {
    tools: Vec<Shown>,
    /// Where a tool stands among them.
    places: HashMap<Called, usize>,
    /// The names that models are shown.
    taken: HashSet<String>,
    /// The first tool of this name in any namespace.
    inside: HashMap<String, usize>,
    /// Those that a provider runs itself.
    hosted: Vec<Tool>,
    /// Paths of tools that are told to nobody.
    untold: Vec<String>,
}

struct Shown {
    name: String,
    called: Called,
    tool: Tool,
    /// As its client wrote it, where it goes out so.
    written: Option<Value>,
}

/// What a model is told of a tool beside its name.
struct Definition {
    description: Option<String>,
    parameters: Option<Value>,
    strict: Option<bool>,
}

impl Definition {
    fn new(description: &str, parameters: Value) -> Self {
        Self { description: Some(description.to_owned()), parameters: Some(parameters), strict: None }
    }

    /// The same, with more to read.
    fn saying(mut self, more: &str) -> Self {
        let text = self.description.get_or_insert_default();
        if !text.is_empty() {
            text.push_str("\n\n");
        }
        text.push_str(more);
        self
    }
}

impl Toolbox {
    /// Reads the tools at `path`, and says the names that models are shown. One that is there already is what it is told to be last.
    pub(super) fn read(&mut self, items: Vec<Json<'_>>, path: &Path<'_>) -> Result<Vec<String>, Mismatch> {
        let mut names = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            self.tool(item, &path.index(index), &mut names)?;
        }
        Ok(names)
    }

    fn tool(&mut self, value: Json<'_>, path: &Path<'_>, names: &mut Vec<String>) -> Result<(), Mismatch> {
        let written = written(&value);
        let mut fields = Fields::of(value, path)?;
        let word = fields.need_word("type")?;
        let (called, definition) = match (&*word, Kind::of(&word)) {
            ("namespace", _) => return self.namespace(&mut fields, names),
            (_, Some(kind @ (Kind::Function | Kind::Custom))) => defined(kind, None, &mut fields)?,
            (_, Some(kind @ Kind::LocalShell)) => (Called::nameless(kind), local_shell()),
            (_, Some(kind @ Kind::Shell)) => (Called::nameless(kind), shell(&mut fields)?),
            (_, Some(kind @ Kind::ApplyPatch)) => (Called::nameless(kind), apply_patch()),
            (_, Some(kind @ Kind::ToolSearch)) => {
                if fields.word("execution")?.is_none_or(|runs_at| runs_at != "client") {
                    // OpenAI's own search finds tools that were put off. Here models are shown all of them.
                    self.untold.push(path.to_string());
                    return Ok(());
                }
                (Called::nameless(kind), tool_search(&mut fields)?)
            }
            // What a provider runs itself: who is asked through this API takes it, and the others refuse it by name.
            (kind, None) if is_hosted(kind) => {
                let mut whole = Rest::new();
                whole.insert("type".to_owned(), kind.into());
                whole.extend(fields.rest());
                whole.shift_remove(DEFERRED);
                self.hosted.push(Tool::Other(whole.into()));
                return Ok(());
            }
            (kind, None) => {
                let problem = format!("tools of the type `{kind}` cannot be used here: their calls could not be told");
                return Err(Mismatch::new(&path.key("type"), problem));
            }
        };
        names.push(self.add(called, definition, written));
        Ok(())
    }

    fn namespace(&mut self, fields: &mut Fields<'_>, names: &mut Vec<String>) -> Result<(), Mismatch> {
        let namespace = fields.need_text("name")?;
        let mut about = fields.text("description")?.filter(|text| !text.is_empty());
        let path = fields.path().key("tools");
        for (index, item) in fields.list("tools")?.unwrap_or_default().into_iter().enumerate() {
            let path = path.index(index);
            let mut tool = Fields::of(item, &path)?;
            let word = tool.need_word("type")?;
            let Some(kind) = Kind::of(&word).filter(|kind| kind.is_named()) else {
                return Err(Mismatch::expected(&path.key("type"), "`function` or `custom`", &Json::Text(word)));
            };
            let (called, mut definition) = defined(kind, Some(namespace.clone()), &mut tool)?;
            // What is said of all of them is said once: there may be hundreds.
            if let Some(about) = about.take() {
                definition = definition.saying(&format!("About all tools of `{namespace}`: {about}"));
            }
            // One in a namespace has another name for models.
            names.push(self.add(called, definition, None));
        }
        Ok(())
    }

    /// Adds a tool, or has it be told otherwise, and says the name that models are shown.
    fn add(&mut self, called: Called, definition: Definition, written: Option<Value>) -> String {
        let place = self.places.get(&called).copied();
        let earlier = place.and_then(|place| self.tools.get_mut(place));
        let known = earlier.as_ref().map(|shown| shown.name.clone());
        let name = known.unwrap_or_else(|| free(&mut self.taken, &called));
        let Definition { description, parameters, strict } = definition;
        let tool = Tool::Function { name: name.clone(), description, parameters, strict, rest: Rest::new() };
        if let Some(earlier) = earlier {
            earlier.tool = tool;
            earlier.written = written;
            return name;
        }
        let place = self.tools.len();
        if called.namespace.is_some() {
            self.inside.entry(called.name.clone()).or_insert(place);
        }
        self.places.insert(called.clone(), place);
        self.tools.push(Shown { name: name.clone(), called, tool, written });
        name
    }

    /// The name that models know a tool by, be it among these or of an earlier request.
    pub(super) fn shown(&self, called: &Called) -> String {
        let known = self.places.get(called).and_then(|place| self.tools.get(*place));
        known.map_or_else(|| called.shown(), |shown| shown.name.clone())
    }

    /// The same of a tool that is chosen. Whoever chooses one by its name alone need not say where it stands.
    fn chosen(&self, called: &Called) -> String {
        let elsewhere = self.inside.get(&called.name).and_then(|place| self.tools.get(*place));
        match elsewhere {
            Some(shown) if called.namespace.is_none() && !self.places.contains_key(called) => shown.name.clone(),
            _ => self.shown(called),
        }
    }

    /// Reads the choice among them.
    pub(super) fn choice(&self, fields: &mut Fields<'_>) -> Result<Option<ToolChoice>, Mismatch> {
        let path = fields.path().key("tool_choice");
        let Some(value) = fields.take("tool_choice") else { return Ok(None) };
        let word = value.as_str().or_else(|| value.get("type").and_then(Json::as_str));
        let choice = match (word, value.get("name").and_then(Json::as_str)) {
            (Some("auto"), None) => ToolChoice::Auto,
            (Some("none"), None) => ToolChoice::None,
            (Some("required"), None) => ToolChoice::Required,
            (Some("allowed_tools"), None) if value.get("tools").is_some() => {
                let tools = self.allowed(value.items("tools"));
                allowed::among(&tools, value.get("mode").is_some_and(|mode| mode == "required"))
            }
            // One that its provider runs.
            (Some(kind), _) if value.is_object() && kind != "allowed_tools" && Kind::of(kind).is_none() => {
                ToolChoice::Other(value.into())
            }
            _ => {
                let Some(called) = named(&value) else {
                    let known =
                        "`auto`, `none`, `required`, `allowed_tools`, or a tool of the request by `type` and `name`";
                    return Err(Mismatch::expected(&path, known, &value));
                };
                ToolChoice::Function(self.chosen(&called))
            }
        };
        Ok(Some(choice))
    }

    /// The tools that may be called, as chats name them; those that a provider runs itself as the client does.
    fn allowed(&self, listed: &[Json<'_>]) -> Vec<Value> {
        let mut tools = Vec::new();
        let mut groups = HashSet::new();
        for tool in listed {
            let text = |name: &str| tool.get(name).and_then(Json::as_str);
            match (text("type"), text("name")) {
                (Some("namespace"), Some(name)) => {
                    groups.insert(name);
                }
                (Some(kind), _) if Kind::of(kind).is_none() => tools.push(Value::from(tool.clone())),
                (word, name) => match named(tool) {
                    Some(called) => tools.push(allowed::function(&self.chosen(&called))),
                    // Nothing is known by it; so no more may be called than was said.
                    None => tools.extend(name.or(word).map(allowed::function)),
                },
            }
        }
        let grouped = |shown: &&Shown| shown.called.namespace.as_deref().is_some_and(|name| groups.contains(name));
        tools.extend(self.tools.iter().filter(grouped).map(|shown| allowed::function(&shown.name)));
        tools
    }

    /// The tools, once all of the request is read. What its reply must know of them goes into the echo.
    pub(super) fn finish(self, echo: &mut Rest, untold: &mut Vec<String>) -> Vec<Tool> {
        let told = self.tools.iter().map(|shown| (shown.name.as_str(), &shown.called, shown.written.as_ref()));
        Names::keep(told, echo);
        untold.extend(self.untold);
        self.tools.into_iter().map(|shown| shown.tool).chain(self.hosted).collect()
    }
}

/// Whether what such a tool does, which a provider runs itself, is among the items that are known.
fn is_hosted(kind: &str) -> bool {
    kind.starts_with("web_search") || matches!(kind, "file_search" | "code_interpreter" | "mcp" | "image_generation")
}

/// A tool as its client wrote it, where it goes out so.
fn written(tool: &Json<'_>) -> Option<Value> {
    let kind = Kind::of(tool.get("type")?.as_str()?)?;
    let mut written = Value::from(kind.goes_as_written().then(|| tool.clone())?);
    if let Value::Object(fields) = &mut written {
        fields.shift_remove(DEFERRED);
    }
    Some(written)
}

/// A name that no other tool has. One with a mark is taken to be such.
fn free(taken: &mut HashSet<String>, called: &Called) -> String {
    let shown = called.shown();
    if taken.insert(shown.clone()) {
        return shown;
    }
    let marked = called.marked();
    taken.insert(marked.clone());
    marked
}

/// The tool that is named so: by its kind, and its name where there are several of its kind.
fn named(value: &Json<'_>) -> Option<Called> {
    let text = |name: &str| value.get(name).and_then(Json::as_str).map(str::to_owned);
    let kind = Kind::of(&text("type")?)?;
    match text("name") {
        Some(name) if kind.is_named() => Some(Called::new(kind, text("namespace"), name)),
        None if !kind.is_named() => Some(Called::nameless(kind)),
        _ => None,
    }
}

/// A tool that the client defines.
fn defined(kind: Kind, namespace: Option<String>, fields: &mut Fields<'_>) -> Result<(Called, Definition), Mismatch> {
    let called = Called::new(kind, namespace, fields.need_text("name")?);
    let description = fields.text("description")?;
    if kind == Kind::Function {
        let parameters = fields.take("parameters").map(Value::from);
        return Ok((called, Definition { description, parameters, strict: fields.flag("strict")? }));
    }
    let input = json!({"type": "string", "description": "The tool's whole input, as plain text."});
    let parameters = Some(object(&json!({"input": input}), &["input"]));
    let description = description.filter(|text| !text.is_empty());
    let definition = Definition { description, parameters, strict: None };
    // The grammar is told in words: no other provider holds a model to one.
    Ok(match fields.take("format").as_ref().and_then(grammar) {
        Some(grammar) => (called, definition.saying(&format!("The input follows this grammar:\n{grammar}"))),
        None => (called, definition),
    })
}

fn local_shell() -> Definition {
    let properties = json!({
        "command": {"type": "array", "items": {"type": "string"}, "description": "The command and its arguments."},
        "working_directory": {"type": "string"},
        "timeout_ms": {"type": "integer"},
        "env": {"type": "object", "additionalProperties": {"type": "string"}},
    });
    Definition::new("Runs a command on the user's machine and returns its output.", object(&properties, &["command"]))
}

/// The shell of the user's machine; the one in a container runs at OpenAI.
fn shell(fields: &mut Fields<'_>) -> Result<Definition, Mismatch> {
    let path = fields.path().key("environment");
    let environment = fields.take("environment").unwrap_or_default();
    if environment.get("type").is_some_and(|kind| kind != "local") {
        let problem = "containers are OpenAI's own; the models served here take a shell whose environment is `local`";
        return Err(Mismatch::new(&path, problem));
    }
    let properties = json!({
        "commands": {"type": "array", "items": {"type": "string"}, "description": "Shell commands, run one after another."},
        "timeout_ms": {"type": "integer"},
        "max_output_length": {"type": "integer", "description": "The most letters of output to return."},
    });
    let about = "Runs shell commands on the user's machine and returns their output.";
    let mut definition = Definition::new(about, object(&properties, &["commands"]));
    for skill in environment.items("skills") {
        let text = |name: &str| skill.get(name).and_then(Json::as_str).unwrap_or_default();
        let (name, path, about) = (text("name"), text("path"), text("description"));
        definition = definition.saying(&format!("The skill `{name}` is described in the folder `{path}`: {about}"));
    }
    Ok(definition)
}

fn apply_patch() -> Definition {
    let about = "Creates, updates or deletes one file of the user's. `diff` is what changes in it, without a head that names files: sections \
                 that begin with a line `@@` (which may go on with a line of the file above the change, such as a function's head), \
                 and below it lines that begin with a space where they stay, with `-` where they go and with `+` where they come. For a \
                 new file it is the file's lines, each behind a `+`; a file that is deleted has none.";
    let properties = json!({
        "type": {"type": "string", "enum": ["create_file", "update_file", "delete_file"]},
        "path": {"type": "string", "description": "The file's path below the workspace."},
        "diff": {"type": "string"},
    });
    Definition::new(about, object(&properties, &["type", "path"]))
}

fn tool_search(fields: &mut Fields<'_>) -> Result<Definition, Mismatch> {
    let about = "Searches for more tools. Those that are found can be called afterwards.";
    let parameters = fields.take("parameters").map(Value::from);
    let query = || object(&json!({"query": {"type": "string"}}), &["query"]);
    let mut definition = Definition::new(about, parameters.unwrap_or_else(query));
    if let Some(own) = fields.text("description")? {
        definition.description = Some(own);
    }
    Ok(definition)
}

fn object(properties: &Value, required: &[&str]) -> Value {
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

fn grammar(format: &Json<'_>) -> Option<String> {
    let definition = format.get("definition")?.as_str()?;
    Some(definition.to_owned())
}
