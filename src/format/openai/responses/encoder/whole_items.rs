//! Items that are told whole: what a provider's tools did, and pictures, which may be shown before they are.

use bytes::BytesMut;
use serde_json::{Value, json};

use super::{Body, Encoder, Item};
use crate::chat::Rest;
use crate::format::drawn;
use crate::format::openai::responses::object;
use crate::format::openai::responses::provider::{ITEM_BEGUN, ITEM_DONE, PARTIAL_IMAGE};

impl Encoder {
    /// An item that its provider told whole.
    pub(super) fn kept(&mut self, item: &Value, out: &mut BytesMut) {
        let begun = self.has_begun(item.get("id"), out);
        let item = self.envelope.kept(item, self.output.len());
        self.whole(item, begun, out);
    }

    /// A picture, with what was told of it where its provider speaks this API, too. What is heard is none.
    pub(super) fn drew(&mut self, picture: &Value, told: &Rest, out: &mut BytesMut) {
        let Some((_, data)) = drawn::data(picture).filter(|(kind, _)| kind.starts_with("image/")) else { return };
        let told = Some(told).filter(|_| self.own);
        let begun = self.has_begun(told.and_then(|told| told.get("id")), out);
        let item = object::picture(&self.envelope, self.output.len(), data, told);
        self.whole(item, begun, out);
    }

    /// A picture that is not whole yet, as its provider told it: its item is under way until it is.
    pub(super) fn sketched(&mut self, told: &Value, out: &mut BytesMut) {
        let own = told.get("item_id").and_then(Value::as_str).unwrap_or_default();
        if !self.is_sketched(own) {
            self.close(out);
            let output_index = self.output.len();
            let id = self.envelope.kept_id(own, output_index);
            let item = object::drawing(&id, "generating");
            self.open = Some(Item { id, body: Body::Picture { own: own.to_owned() } });
            self.emit(out, ITEM_BEGUN, json!({"output_index": output_index, "item": item}));
        }
        let (item_id, output_index) = self.place();
        let mut fields = told.clone();
        fields["item_id"] = item_id.into();
        fields["output_index"] = output_index.into();
        self.emit(out, PARTIAL_IMAGE, fields);
    }

    fn is_sketched(&self, id: &str) -> bool {
        matches!(&self.open, Some(Item { body: Body::Picture { own }, .. }) if own == id)
    }

    /// Makes way for an item that is told whole. Whether it is the one under way.
    fn has_begun(&mut self, id: Option<&Value>, out: &mut BytesMut) -> bool {
        let begun = id.and_then(Value::as_str).is_some_and(|id| self.is_sketched(id));
        if begun {
            self.open = None;
        } else {
            self.close(out);
        }
        begun
    }

    /// An item that ends, and begins where it has not.
    fn whole(&mut self, item: Value, begun: bool, out: &mut BytesMut) {
        let fields = json!({"output_index": self.output.len(), "item": item});
        self.output.push(item);
        if !begun {
            self.emit(out, ITEM_BEGUN, fields.clone());
        }
        self.emit(out, ITEM_DONE, fields);
    }
}
