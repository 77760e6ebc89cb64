/* cc policy_test.c policy.c provider.c json.c witgate.c -o policy_test && ./policy_test */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "provider.h"

static int failed;

static void check(bool holds, const char *what) {
  if (!holds) printf("failed: %s\n", what);
  failed += !holds;
}

static witgate_text text(const char *words) { return (witgate_text){words, strlen(words)}; }

static const char *configure(const char *settings) {
  witgate_setup setup = {.settings = text(settings), .seed = 1};
  witgate_needs needs = {0};
  return policy_configure(&setup, &needs);
}

/* Whether this is sent for the request. */
static bool sends(const char *request, const char *body) {
  witgate_target target = {.model = text("m"), .max_output_tokens = 100};
  witgate_encoded encoded = {0};
  return !policy_encode(text(request), &target, &encoded) && witgate_same((witgate_text){encoded.body.at, encoded.body.length}, body);
}

/* Whether the request cannot be written, for this field. */
static bool blames(const char *request, const char *param) {
  witgate_target target = {.model = text("m"), .max_output_tokens = 100};
  witgate_encoded encoded = {0};
  const witgate_fault *fault = policy_encode(text(request), &target, &encoded);
  return fault && witgate_same(fault->param, param);
}

static bool is_no_reply(const char *body) {
  witgate_events events = {0};
  return policy_decode(text(body), &events) != NULL;
}

static void check_streams(void) {
  bool *stream = policy_open();
  witgate_events events = {0};
  check(!policy_push(stream, text(""), text("{\"id\": \"t1\", \"answer\": \"Gr\\u00fc\\u00dfe \\ud83d\\ude00\"}"), &events), "a line is read");
  check(events.count == 2 && witgate_same(events.at[0].beginning.id, "t1") && witgate_same(events.at[1].text, "Grüße 😀"), "it begins");
  events.count = 0;
  check(!policy_push(stream, text(""), text("{\"answer\": \" it is.\"}"), &events) && events.count == 1, "it begins once");
  events.count = 0;
  check(!policy_push(stream, text(""), text("{\"words\": {\"in\": 1, \"out\": 3}, \"cut\": true}"), &events), "the last line is read");
  check(events.count == 3 && events.at[0].finish == WITGATE_LENGTH && events.at[1].usage.input == 2 && events.at[1].usage.output == 4 &&
            events.at[2].kind == WITGATE_END, "it ends with its words");
  free(stream);
}

int main(void) {
  check(configure("{\"words_per_100_tokens\": 75}") == NULL, "a whole number is a setting");
  check(sends("{\"messages\": [{\"role\": \"user\", \"content\": \"\\\"hi\\\"\\n\"}], \"max_tokens\": 8}",
              "{\"model\":\"m\",\"prompt\":\"\\\"hi\\\"\\u000a\",\"max_words\":6,\"stream\":false}"), "one message is the prompt");
  check(sends("{\"messages\": [{\"role\": \"system\", \"content\": \"Be brief.\"}, {\"role\": \"user\", \"content\": \"hi\"}], \"stream\": true}",
              "{\"model\":\"m\",\"prompt\":\"system: Be brief.\\u000a\\u000auser: hi\",\"max_words\":75,\"stream\":true}"),
        "a conversation says who said what");
  check(blames("{\"n\": 2}", "n") && blames("{\"stop\": \"x\"}", "stop") &&
            blames("{\"messages\": [{\"role\": \"tool\", \"content\": \"1\"}]}", "messages[0]"), "what has no words there is refused by name");
  check(sends("{\"messages\": [], \"n\": 1, \"tools\": [], \"response_format\": {\"type\": \"text\"}}",
              "{\"model\":\"m\",\"prompt\":\"\",\"max_words\":75,\"stream\":false}"), "what asks for nothing is no loss");
  check_streams();
  char *deep = calloc(100001, 1);
  check(is_no_reply("") && is_no_reply("[]") && is_no_reply("{}") && is_no_reply("{\"answer\": \"So\"}") && is_no_reply("{\"answer\": \"\\ud800\"}") &&
            is_no_reply("{\"answer\": \"\xff\"}") && is_no_reply("{\"error\": {\"says\": \"no\"}}") && is_no_reply(memset(deep, '[', 100000)),
        "what is no reply is a fault");
  free(deep);
  check(witgate_same(policy_decode_error(502, text("<html>"))->message, "the provider refused with status 502"), "a refusal by something else");
  check(configure("{\"words_per_100_tokens\": 0}") && configure("{\"words_per_100_tokens\": \"all\"}") && configure("{\"least\": 1}"),
        "settings that make no sense are refused");
  puts(failed ? "failed" : "passed");
  return failed != 0;
}
