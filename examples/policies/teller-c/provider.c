/* Between the gateway and a provider's six functions: the calls as the component model's canonical ABI spells them. */
#include "provider.h"

#include <stdlib.h>
#include <string.h>

void witgate_add(witgate_events *events, witgate_event event) {
  if (events->count == events->room) {
    size_t room = events->room ? 2 * events->room : 4;
    witgate_event *at = witgate_take(room * sizeof *at);
    if (events->count) memcpy(at, events->at, events->count * sizeof *at);
    events->at = at;
    events->room = room;
  }
  events->at[events->count++] = event;
}

const witgate_fault *witgate_faulted(const char *message, const char *param) {
  witgate_fault *fault = witgate_take(sizeof *fault);
  fault->message = (witgate_text){message, strlen(message)};
  if (param) fault->param = (witgate_text){param, strlen(param)};
  return fault;
}

#ifdef __wasm__

#define EXPORT(name) __attribute__((export_name(name)))

typedef struct {
  uint32_t failed;
  union {
    witgate_needs needs;
    witgate_text words;
  };
} needs_or_words;

EXPORT("witgate:policy/providing@0.1.0#start")
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
  answer.needs = needs;
  witgate_keep();
  return &answer;
}

typedef struct { bool known; witgate_text text; } maybe_text;
typedef struct { witgate_text message; maybe_text code, param; } told_fault;

static told_fault told(const witgate_fault *fault) {
  maybe_text code = {fault->code.length > 0, fault->code}, param = {fault->param.length > 0, fault->param};
  return (told_fault){fault->message, code, param};
}

typedef struct {
  uint32_t failed;
  union {
    struct {
      witgate_text path;
      struct { const witgate_header *at; size_t count; } headers;
      witgate_text body;
      witgate_texts dropped;
    } encoded;
    told_fault fault;
  };
} encoded_or_fault;

EXPORT("witgate:policy/providing@0.1.0#encode")
encoded_or_fault *encode(const char *request, size_t request_length, const char *model, size_t model_length, int32_t has_version,
                         const char *version, size_t version_length, uint32_t max_output_tokens) {
  static encoded_or_fault answer;
  witgate_begin();
  witgate_target target = {{model, model_length}, has_version, {version, version_length}, max_output_tokens};
  witgate_encoded encoded = {0};
  const witgate_fault *fault = policy_encode((witgate_text){request, request_length}, &target, &encoded);
  witgate_end();
  answer.failed = fault != NULL;
  if (fault) {
    answer.fault = told(fault);
    return &answer;
  }
  answer.encoded.path = (witgate_text){encoded.path, strlen(encoded.path)};
  answer.encoded.headers.at = encoded.headers;
  answer.encoded.headers.count = encoded.header_count;
  answer.encoded.body = (witgate_text){encoded.body.at, encoded.body.length};
  answer.encoded.dropped = (witgate_texts){encoded.dropped, encoded.dropped_count};
  return &answer;
}

typedef struct {
  uint32_t failed;
  union {
    witgate_events events;
    told_fault fault;
  };
} events_or_fault;

static events_or_fault *heard(const witgate_fault *fault, witgate_events events) {
  static events_or_fault answer;
  witgate_end();
  answer.failed = fault != NULL;
  if (fault) answer.fault = told(fault);
  else answer.events = events;
  return &answer;
}

EXPORT("witgate:policy/providing@0.1.0#decode")
events_or_fault *decode(const char *body, size_t length) {
  witgate_begin();
  witgate_events events = {0};
  const witgate_fault *fault = policy_decode((witgate_text){body, length}, &events);
  return heard(fault, events);
}

EXPORT("witgate:policy/providing@0.1.0#decode-error")
told_fault *decode_error(uint32_t status, const char *body, size_t length) {
  static told_fault answer;
  witgate_begin();
  answer = told(policy_decode_error((uint16_t)status, (witgate_text){body, length}));
  witgate_end();
  return &answer;
}

__attribute__((import_module("[export]witgate:policy/providing@0.1.0"), import_name("[resource-new]decoder")))
extern int32_t resource_new(void *stream);

EXPORT("witgate:policy/providing@0.1.0#[constructor]decoder")
int32_t begin_stream(void) {
  witgate_begin();
  void *stream = policy_open();
  witgate_end();
  return resource_new(stream);
}

EXPORT("witgate:policy/providing@0.1.0#[dtor]decoder")
void end_stream(void *stream) { free(stream); }

EXPORT("witgate:policy/providing@0.1.0#[method]decoder.push")
events_or_fault *push(void *stream, const char *name, size_t name_length, const char *data, size_t length) {
  witgate_begin();
  witgate_events events = {0};
  const witgate_fault *fault = policy_push(stream, (witgate_text){name, name_length}, (witgate_text){data, length}, &events);
  return heard(fault, events);
}

/* It learns nothing that a successor should know. */
EXPORT("witgate:policy/lifecycle@0.1.0#save")
const void *save(void) {
  static const struct { uint32_t some; witgate_state state; } none;
  return &none;
}

#endif
