/* A small API that is nobody's: it takes one prompt and a bound in words, and counts words where others count tokens.
 *
 *     POST /v1/tell  {"model": "m", "prompt": "hi", "max_words": 75, "stream": false}
 *     a reply        {"id": "t1", "answer": "Hello.", "words": {"in": 1, "out": 1}, "cut": false}
 *     streamed       lines of the same: each has a piece of the answer, the last one has the words
 *     a refusal      {"error": {"name": "too-long", "says": "the prompt is too long"}}
 *
 * Setting `words_per_100_tokens`: how many words its tokens make; 75 unless given. */
#include "provider.h"

#include <stdlib.h>
#include <string.h>

static uint32_t words_per_100_tokens;

/* What is read of a request, what says what would be so without it, and what the API has no words for and whose loss would change
 * what was asked. */
static const char *const KNOWN[] = {"model", "messages", "stream", "max_completion_tokens", "max_tokens", "stream_options", "n"};
static const char *const REFUSED[] = {"tools", "functions", "stop", "response_format", "logprobs"};

#define IS_ONE_OF(name, list) is_one_of(name, list, sizeof(list) / sizeof *(list))
static bool is_one_of(witgate_text name, const char *const *list, size_t count) {
  for (size_t at = 0; at < count; at++)
    if (witgate_same(name, list[at])) return true;
  return false;
}

/* Ended by a zero. */
static const char *ended(witgate_text text) { return memcpy(witgate_take(text.length + 1), text.at, text.length); }

static const char *number(uint64_t value) {
  witgate_bytes digits = {0};
  witgate_write_whole(&digits, value);
  return ended((witgate_text){digits.at, digits.length});
}

const char *policy_configure(const witgate_setup *setup, witgate_needs *needs) {
  words_per_100_tokens = 75;
  const witgate_setting known[] = {
      {.name = "words_per_100_tokens", .range = "1 to 1000", .least = 1, .most = 1000, .whole = &words_per_100_tokens}};
  /* Nothing of one request is remembered at the next. */
  *needs = (witgate_needs){.framing = WITGATE_LINES, .pure = true};
  return witgate_read_settings(setup->settings, known, 1);
}

/* Whether a field asks for anything: clients send many that say what would be so without them. */
static bool asks(const char *name, const witgate_json *value) {
  if (!value || value->kind == WITGATE_NULL || (value->kind == WITGATE_BOOL && !value->yes)) return false;
  if (value->kind == WITGATE_ARRAY) return value->first != NULL;
  return strcmp(name, "response_format") != 0 || !witgate_same(witgate_string(witgate_member(value, "type")), "text");
}

static const witgate_fault *write_content(witgate_bytes *prompt, const witgate_json *content, const char *place) {
  if (!content || content->kind != WITGATE_ARRAY) return witgate_write_text(prompt, witgate_string(content)), NULL;
  for (const witgate_json *part = content->first; part; part = part->next) {
    const char *kind = ended(witgate_string(witgate_member(part, "type")));
    if (strcmp(kind, "text") != 0 && strcmp(kind, "refusal") != 0)
      return witgate_faulted(witgate_join("the provider takes no content of type `", kind, "`", NULL), place);
    witgate_write_text(prompt, witgate_string(witgate_member(part, kind)));
  }
  return NULL;
}

/* One message is the prompt as it stands; of several, each says whose it is. */
static const witgate_fault *write_prompt(witgate_bytes *prompt, const witgate_json *messages) {
  const witgate_json *message = messages && messages->kind == WITGATE_ARRAY ? messages->first : NULL;
  bool several = message && message->next;
  for (uint64_t index = 0; message; message = message->next, index++) {
    const char *place = witgate_join("messages[", number(index), "]", NULL);
    witgate_text role = witgate_string(witgate_member(message, "role"));
    bool calls = asks("", witgate_member(message, "tool_calls")) || asks("", witgate_member(message, "function_call"));
    if (calls || witgate_same(role, "tool") || witgate_same(role, "function"))
      return witgate_faulted("the provider calls no tools", place);
    if (several) {
      if (index > 0) witgate_write(prompt, "\n\n");
      witgate_write_text(prompt, role.length ? role : (witgate_text){"user", 4});
      witgate_write(prompt, ": ");
    }
    const witgate_fault *fault = write_content(prompt, witgate_member(message, "content"), place);
    if (fault) return fault;
  }
  return NULL;
}

/* So many words fit into these tokens; one at least, for the API takes no bound of none. */
static uint64_t words_of(uint64_t tokens) {
  uint64_t words = tokens * words_per_100_tokens / 100;
  return words ? words : 1;
}

/* So many tokens these words are. Rounded up: limits would rather count one too many. */
static uint64_t tokens_of(uint64_t words) { return (words * 100 + words_per_100_tokens - 1) / words_per_100_tokens; }

const witgate_fault *policy_encode(witgate_text request, const witgate_target *target, witgate_encoded *encoded) {
  const witgate_json *given = witgate_read_json(request);
  if (!given || given->kind != WITGATE_OBJECT) return witgate_faulted("this is no JSON object", NULL);
  witgate_bytes prompt = {0};
  const witgate_fault *fault = write_prompt(&prompt, witgate_member(given, "messages"));
  if (fault) return fault;
  /* The bound has had two names; the API wants one, so where a client gave none it is what was reserved. */
  uint64_t tokens = target->max_output_tokens, count = 1;
  if (!witgate_whole(witgate_member(given, "max_completion_tokens"), &tokens)) witgate_whole(witgate_member(given, "max_tokens"), &tokens);
  const witgate_json *n = witgate_member(given, "n");
  if (asks("n", n) && !(witgate_whole(n, &count) && count == 1)) return witgate_faulted("the provider gives one reply at a time", "n");

  size_t fields = 0;
  for (const witgate_json *field = given->first; field; field = field->next) fields++;
  witgate_text *dropped = witgate_take(fields * sizeof *dropped);
  for (const witgate_json *field = given->first; field; field = field->next) {
    const char *name = ended(field->name);
    if (IS_ONE_OF(field->name, KNOWN) || !asks(name, field)) continue;
    if (IS_ONE_OF(field->name, REFUSED)) return witgate_faulted(witgate_join("the provider has no word for `", name, "`", NULL), name);
    dropped[encoded->dropped_count++] = field->name;
  }
  encoded->dropped = dropped;
  encoded->path = "/v1/tell";
  witgate_write(&encoded->body, "{\"model\":");
  witgate_write_string(&encoded->body, target->model);
  witgate_write(&encoded->body, ",\"prompt\":");
  witgate_write_string(&encoded->body, (witgate_text){prompt.at, prompt.length});
  witgate_write(&encoded->body, ",\"max_words\":");
  witgate_write_whole(&encoded->body, words_of(tokens));
  witgate_write(&encoded->body, witgate_is_true(witgate_member(given, "stream")) ? ",\"stream\":true}" : ",\"stream\":false}");
  return NULL;
}

/* The API's own word for it is the code. */
static const witgate_fault *refused(const witgate_json *error) {
  witgate_fault *fault = witgate_take(sizeof *fault);
  fault->message = witgate_string(witgate_member(error, "says"));
  fault->code = witgate_string(witgate_member(error, "name"));
  return fault;
}

/* Of a stream is known whether it has begun. */
void *policy_open(void) {
  bool *begun = malloc(sizeof *begun);
  if (!begun) abort();
  *begun = false;
  return begun;
}

const witgate_fault *policy_push(void *stream, witgate_text name, witgate_text data, witgate_events *events) {
  (void)name;
  bool *begun = stream;
  const witgate_json *line = witgate_read_json(data);
  if (!line || line->kind != WITGATE_OBJECT) return witgate_faulted("this is no JSON object", NULL);
  const witgate_json *error = witgate_member(line, "error");
  if (error) return refused(error);
  if (!*begun) {
    /* The API does not say which model answers. */
    witgate_text id = witgate_string(witgate_member(line, "id"));
    witgate_add(events, (witgate_event){.kind = WITGATE_BEGINNING, .beginning = {id, {"", 0}}});
    *begun = true;
  }
  witgate_text piece = witgate_string(witgate_member(line, "answer"));
  if (piece.length) witgate_add(events, (witgate_event){.kind = WITGATE_TEXT, .text = piece});
  const witgate_json *words = witgate_member(line, "words");
  uint64_t input, output;
  if (witgate_whole(witgate_member(words, "in"), &input) && witgate_whole(witgate_member(words, "out"), &output)) {
    bool cut = witgate_is_true(witgate_member(line, "cut"));
    witgate_add(events, (witgate_event){.kind = WITGATE_FINISH, .finish = cut ? WITGATE_LENGTH : WITGATE_STOP});
    witgate_add(events, (witgate_event){.kind = WITGATE_USAGE, .usage = {.input = tokens_of(input), .output = tokens_of(output)}});
    witgate_add(events, (witgate_event){.kind = WITGATE_END});
  }
  return NULL;
}

/* A whole reply is a stream of one line. */
const witgate_fault *policy_decode(witgate_text body, witgate_events *events) {
  bool begun = false;
  const witgate_fault *fault = policy_push(&begun, (witgate_text){"", 0}, body, events);
  if (fault) return fault;
  bool ends = events->count && events->at[events->count - 1].kind == WITGATE_END;
  return ends ? NULL : witgate_faulted("the reply has no words counted", NULL);
}

const witgate_fault *policy_decode_error(uint16_t status, witgate_text body) {
  const witgate_json *error = witgate_member(witgate_read_json(body), "error");
  if (error) return refused(error);
  /* What stands before the API, a proxy perhaps, refuses in words of its own. */
  return witgate_faulted(witgate_join("the provider refused with status ", number(status), NULL), NULL);
}
