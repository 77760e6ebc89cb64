/* Between the gateway and a prompt builder's two functions: the calls as the component model's canonical ABI spells them. */
#include "builder.h"

#include <string.h>

witgate_built_message witgate_new_message(witgate_role role, witgate_text text) {
  witgate_built_part *part = witgate_take(sizeof *part);
  *part = (witgate_built_part){.has_text = true, .text = text};
  return (witgate_built_message){.role = (uint8_t)role, .parts = part, .part_count = 1};
}

witgate_built_message *witgate_kept(const witgate_request *request, size_t before) {
  witgate_built_message *messages = witgate_take((before + request->message_count) * sizeof *messages);
  uint32_t next = 0;
  for (size_t at = 0; at < request->message_count; at++) {
    const witgate_message *message = &request->messages[at];
    witgate_built_part *parts = witgate_take(message->part_count * sizeof *parts);
    for (size_t part = 0; part < message->part_count; part++)
      parts[part] = (witgate_built_part){.has_source = true, .source = next++};
    messages[before + at] = (witgate_built_message){message->role, parts, message->part_count, true, (uint32_t)at};
  }
  return messages;
}

/* The calls. */

#ifndef __wasm__

uint32_t witgate_count_tokens(witgate_text text) {
  uint32_t words = 0;
  for (size_t at = 0; at < text.length; at++)
    words += text.at[at] > ' ' && (at == 0 || text.at[at - 1] <= ' ');
  return words;
}

#else

#define EXPORT(name) __attribute__((export_name(name)))

__attribute__((import_module("witgate:policy/tokens@0.1.0"), import_name("count")))
extern uint32_t count_tokens(const char *text, size_t length);

uint32_t witgate_count_tokens(witgate_text text) { return count_tokens(text.at, text.length); }

typedef struct {
  uint32_t failed;
  union {
    struct { witgate_texts attributes; bool pure; } needs;
    witgate_text words;
  };
} needs_or_words;

EXPORT("witgate:policy/prompting@0.1.0#start")
needs_or_words *start(void) {
  static needs_or_words answer;
  witgate_setup setup = {witgate_given.settings, witgate_given.seed};
  witgate_needs needs = {0};
  const char *problem = policy_configure(&setup, &needs);
  if (problem) {
    answer.failed = 1;
    answer.words = (witgate_text){problem, strlen(problem)};
    return &answer;
  }
  answer.needs.attributes = witgate_listed(needs.attributes);
  answer.needs.pure = needs.pure;
  witgate_keep();
  return &answer;
}

typedef struct {
  uint32_t failed;
  union { witgate_prompt prompt; witgate_text words; };
} prompt_or_words;

EXPORT("witgate:policy/prompting@0.1.0#build")
prompt_or_words *build(uint64_t now_ms, uint64_t seed, const witgate_message *messages, size_t message_count,
                       const char *variables, size_t variables_length, const witgate_text *items, size_t item_count,
                       int32_t has_budget, uint32_t budget, const witgate_text *attributes, size_t attribute_count) {
  static prompt_or_words answer;
  witgate_begin();
  (void)attribute_count;
  witgate_request request = {now_ms, seed, messages, message_count, {variables, variables_length}, {items, item_count},
                             {has_budget, budget}, attributes};
  answer = (prompt_or_words){0};
  const char *refused = policy_build(&request, &answer.prompt);
  witgate_end();
  if (refused) {
    answer.failed = 1;
    answer.words = (witgate_text){refused, strlen(refused)};
  }
  return &answer;
}

/* It learns nothing that a successor should know. */
EXPORT("witgate:policy/lifecycle@0.1.0#save")
const void *save(void) {
  static const struct { uint32_t some; witgate_state state; } none;
  return &none;
}

#endif
