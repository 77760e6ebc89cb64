/* The operator's instructions come first, then everything the client wrote, as it wrote it.
 *
 * Setting `text`: the instructions; it must be given. */
#include "builder.h"

static witgate_text text;

const char *policy_configure(const witgate_setup *setup, witgate_needs *needs) {
  text = (witgate_text){0};
  const witgate_setting known[] = {{.name = "text", .range = "the instructions", .text = &text}};
  /* Nothing of one request is remembered at the next. */
  needs->pure = true;
  return witgate_read_settings(setup->settings, known, 1);
}

const char *policy_build(const witgate_request *request, witgate_prompt *prompt) {
  witgate_built_message *messages = witgate_kept(request, 1);
  messages[0] = witgate_new_message(WITGATE_SYSTEM, text);
  prompt->messages = messages;
  prompt->count = request->message_count + 1;
  return NULL;
}
