//! Custom sections of a component, written by hand: an id, lengths and bytes need no crate. `cargo xtask policies` includes this
//! file, for it builds without the gateway.

/// The section's name that holds the JSON schema of a policy's settings.
pub(crate) const SETTINGS_SCHEMA: &str = "witgate:settings-schema";

/// Appends a custom section to a component. One may stand anywhere between others, so also behind the last.
pub(crate) fn append(component: &mut Vec<u8>, name: &str, data: &[u8]) {
    let mut content = Vec::with_capacity(name.len() + data.len() + 5);
    length(&mut content, name.len());
    content.extend(name.as_bytes());
    content.extend(data);
    component.push(0);
    length(component, content.len());
    component.append(&mut content);
}

/// LEB128: seven bits a byte, the lowest first, the highest bit set where more follow.
pub(crate) fn length(out: &mut Vec<u8>, mut length: usize) {
    loop {
        let [lowest, ..] = length.to_le_bytes();
        length >>= 7;
        if length == 0 {
            out.push(lowest & 0x7f);
            return;
        }
        out.push(lowest | 0x80);
    }
}
