/* Between the gateway and a response parser's four functions: the calls as the component model's canonical ABI spells them. */
#include "parser.h"

#include <stdlib.h>
#include <string.h>

void witgate_add(witgate_deltas *deltas, witgate_delta delta) {
  if (deltas->count == deltas->room) {
    size_t room = deltas->room ? 2 * deltas->room : 4;
    witgate_delta *at = witgate_take(room * sizeof *at);
    if (deltas->count) memcpy(at, deltas->at, deltas->count * sizeof *at);
    deltas->at = at;
    deltas->room = room;
  }
  deltas->at[deltas->count++] = delta;
}

#ifdef __wasm__

#define EXPORT(name) __attribute__((export_name(name)))

typedef struct {
  uint32_t failed;
  union {
    struct { uint8_t deltas; witgate_texts attributes; bool pure; } needs;
    witgate_text words;
  };
} needs_or_words;

EXPORT("witgate:policy/parsing@0.1.0#start")
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
  answer.needs.deltas = needs.deltas;
  answer.needs.attributes = witgate_listed(needs.attributes);
  answer.needs.pure = needs.pure;
  witgate_keep();
  return &answer;
}

__attribute__((import_module("[export]witgate:policy/parsing@0.1.0"), import_name("[resource-new]parser")))
extern int32_t resource_new(void *reply);

EXPORT("witgate:policy/parsing@0.1.0#[constructor]parser")
int32_t begin_reply(uint32_t choice, int32_t streamed, uint32_t asked_again, int32_t has_schema, const char *schema,
                    size_t schema_length, int32_t has_note, const char *note, size_t note_length,
                    const witgate_text *attributes, size_t attribute_count) {
  witgate_begin();
  (void)attribute_count;
  witgate_about about = {choice, streamed, asked_again, has_schema, has_note, {schema, schema_length}, {note, note_length}, attributes};
  void *reply = policy_open(&about);
  witgate_end();
  return resource_new(reply);
}

EXPORT("witgate:policy/parsing@0.1.0#[dtor]parser")
void end_reply(void *reply) { free(reply); }

EXPORT("witgate:policy/parsing@0.1.0#[method]parser.push")
witgate_deltas *push(void *reply, uint32_t kind, uint32_t first, uint32_t second, uint32_t third, uint32_t fourth, uint32_t fifth) {
  static witgate_deltas deltas;
  witgate_begin();
  deltas = (witgate_deltas){0};
  witgate_delta delta = {.kind = (uint8_t)kind};
  if (kind == WITGATE_TOOL_CALL) {
    delta.call.index = first;
    delta.call.id = (witgate_text){(const char *)(uintptr_t)second, third};
    delta.call.name = (witgate_text){(const char *)(uintptr_t)fourth, fifth};
  } else if (kind == WITGATE_TOOL_ARGUMENTS) {
    delta.arguments.index = first;
    delta.arguments.fragment = (witgate_text){(const char *)(uintptr_t)second, third};
  } else {
    delta.text = (witgate_text){(const char *)(uintptr_t)first, second};
  }
  policy_push(reply, &delta, &deltas);
  witgate_end();
  return &deltas;
}

typedef struct {
  uint32_t failed;
  union {
    witgate_deltas deltas;
    struct { witgate_text problem; bool has_repair; witgate_text repair; } complaint;
  };
} deltas_or_complaint;

EXPORT("witgate:policy/parsing@0.1.0#[method]parser.finish")
deltas_or_complaint *finish(void *reply, uint32_t reason) {
  static deltas_or_complaint answer;
  witgate_begin();
  answer = (deltas_or_complaint){0};
  const char *repair = NULL, *problem = policy_finish(reply, (witgate_reason)reason, &answer.deltas, &repair);
  witgate_end();
  if (problem) {
    answer.failed = 1;
    answer.complaint.problem = (witgate_text){problem, strlen(problem)};
    answer.complaint.has_repair = repair != NULL;
    answer.complaint.repair = (witgate_text){repair, repair ? strlen(repair) : 0};
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
