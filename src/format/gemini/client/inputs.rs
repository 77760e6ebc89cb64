//! Texts whose vectors are wanted.

use crate::chat::{ChatRequest, Message, Part, Rest, Role, VectorRequest};
use crate::fault::Refusal;
use crate::format::json::Json;
use crate::format::read::{Fields, Mismatch, Path, request_body};

use super::SINGLE;
use super::parse::object;

/// Reads one request, or a list of them. What the vectors are for and how long they are must be alike in all.
pub(super) fn read(body: &[u8], model: String, single: bool) -> Result<ChatRequest, Refusal> {
    let root = Path::Root;
    let value = request_body(body)?;
    let mut inputs = Inputs::default();
    if single {
        inputs.add(value, &root)?;
    } else {
        let path = root.key("requests");
        let mut fields = object(value, &root)?;
        let list = fields.list("requests")?.ok_or_else(|| Mismatch::missing(&path))?;
        inputs.rest = fields.telling_rest();
        if list.is_empty() {
            return Err(Mismatch::new(&path, "at least one request is required").into());
        }
        for (index, one) in list.into_iter().enumerate() {
            inputs.add(one, &path.index(index))?;
        }
    }
    let Inputs { messages, alike, rest } = inputs;
    let (dimensions, task) = alike.unwrap_or_default();
    let mut request = super::parse::bare(model, messages);
    request.max_tokens = Some(0);
    request.rest = rest;
    request.vectors = Some(VectorRequest { dimensions, base64: false });
    if let Some(task) = task {
        request.rest.insert("task_type".to_owned(), task.into());
    }
    if single {
        request.echo.insert(SINGLE.to_owned(), true.into());
    }
    Ok(request)
}

#[derive(Default)]
struct Inputs {
    messages: Vec<Message>,
    /// What the first of them says of its vector.
    alike: Option<(Option<u32>, Option<String>)>,
    /// What nobody here reads, of all of them.
    rest: Rest,
}

impl Inputs {
    fn add(&mut self, value: Json<'_>, path: &Path<'_>) -> Result<(), Mismatch> {
        let mut fields = object(value, path)?;
        let asked = (fields.whole("outputDimensionality")?, fields.text("taskType")?);
        if self.alike.get_or_insert_with(|| asked.clone()) != &asked {
            return Err(Mismatch::new(
                path,
                "`outputDimensionality` and `taskType` must be those of the first request",
            ));
        }
        let inside = path.key("content");
        let mut content = Fields::of(fields.take("content").ok_or_else(|| Mismatch::missing(&inside))?, &inside)?;
        let inside = inside.key("parts");
        let mut text = String::new();
        for (index, part) in content.list("parts")?.unwrap_or_default().into_iter().enumerate() {
            text.push_str(&Fields::of(part, &inside.index(index))?.need_word("text")?);
        }
        if text.is_empty() {
            return Err(Mismatch::new(&inside, "an empty text has no vector"));
        }
        // The path names the model already.
        fields.take("model");
        self.rest.extend(fields.telling_rest());
        self.messages.push(Message { role: Role::User, parts: vec![Part::text(text)], name: None, rest: Rest::new() });
        Ok(())
    }
}
