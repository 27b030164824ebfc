/* chat.c: chat templates as code, one function per style. A template is a sequence of markers and
 * plain text: as text, markers are spelled out; as ids, each marker is one id and the text between
 * two markers is encoded in one go, special tokens in it staying text. The forms follow the
 * templates published with each family; where those depend on tools or thinking, this is their
 * plain path. */
#include "model/chat.h"

#include <string.h>

#include "base/error.h"
#include "base/utf8.h"
#include "model/tokenizer/tokenizer_parts.h"

/* Where a rendering goes: text only when `tok` is NULL. */
typedef struct {
    const laci_tokenizer *tok;
    laci_ids *out;
    laci_bytes text; /* since the last marker, or all of it */
    const char *name;
    lac_error *err;
} sink;

/* ------------------------------------------------------------------ sink */

static lac_status put_text(sink *s, const char *text)
{
    return laci_bytes_append(&s->text, text, strlen(text), s->err);
}

/* Encodes the text gathered since the last marker. */
static lac_status flush(sink *s)
{
    if (!s->tok || !s->text.n) return LAC_OK;
    lac_status st = laci_tokenizer_encode(s->tok, s->text.data, s->text.n, false, s->out, s->err);
    s->text.n = 0;
    return st;
}

static lac_status put_marker(sink *s, const char *marker)
{
    if (!s->tok) return put_text(s, marker);
    lac_status st = flush(s);
    if (st) return st;
    const int id = laci_tokenizer_find(s->tok, marker, strlen(marker));
    if (id < 0)
        return laci_fail(s->err, LAC_EUNSUPPORTED, 0,
                         "chat template \"%s\" needs the token %s, which the tokenizer lacks",
                         s->name, marker);
    return laci_ids_push(s->out, id, s->err);
}

/* Marker, text, marker, text; NULL parts are skipped. */
static lac_status put_all(sink *s, const char *marker, const char *text, const char *marker2,
                          const char *text2)
{
    lac_status st = marker ? put_marker(s, marker) : LAC_OK;
    if (!st && text) st = put_text(s, text);
    if (!st && marker2) st = put_marker(s, marker2);
    if (!st && text2) st = put_text(s, text2);
    return st;
}

/* ------------------------------------------------------------------ contents */

/* White space as the published templates trim it (Python's str.strip). */
static bool is_trimmed(uint32_t code)
{
    return (code >= 0x09 && code <= 0x0D) || (code >= 0x1C && code <= 0x20) || code == 0x85 ||
           code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 ||
           code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

static lac_status put_trimmed(sink *s, const char *text)
{
    const size_t n = strlen(text);
    size_t begin = n, end = n; /* around what is not white space */
    for (size_t at = 0, length; at < n; at += length) {
        uint32_t code = 0;
        length = laci_utf8_next(text + at, n - at, &code);
        if (!length)
            length = 1; /* ill-formed: kept, repaired by the tokenizer */
        else if (is_trimmed(code))
            continue;
        if (begin == n) begin = at;
        end = at + length;
    }
    return laci_bytes_append(&s->text, text + begin, end - begin, s->err);
}

/* An earlier answer without what the model thought before it. */
static const char *skip_thoughts(const char *text)
{
    static const char mark[] = "</think>";
    const char *rest = NULL;
    for (const char *hit = text; (hit = strstr(hit, mark)); rest = hit)
        hit += sizeof mark - 1;
    if (!rest) return text;
    return rest + strspn(rest, "\n");
}

static bool has_role(const lac_chat_message *message, const char *role)
{
    return !strcmp(message->role, role);
}

/* ------------------------------------------------------------------ styles */

typedef struct {
    const char *name;
    lac_status (*render)(sink *s, const lac_chat_message *messages, size_t n, const char *system,
                         bool drops_thoughts);
    const char *system; /* put in front when the conversation brings no system text; NULL = none */
    bool drops_thoughts;
} chat_style;

static lac_status chatml_turn(sink *s, const char *role, const char *content)
{
    lac_status st = put_all(s, "<|im_start|>", role, NULL, "\n");
    return st ? st : put_all(s, NULL, content, "<|im_end|>", "\n");
}

static lac_status render_chatml(sink *s, const lac_chat_message *messages, size_t n,
                                const char *system, bool drops_thoughts)
{
    lac_status st = LAC_OK;
    if (system && !has_role(&messages[0], "system")) st = chatml_turn(s, "system", system);
    for (size_t i = 0; i < n && !st; i++) {
        const bool skips = drops_thoughts && has_role(&messages[i], "assistant");
        const char *content = messages[i].content;
        st = chatml_turn(s, messages[i].role, skips ? skip_thoughts(content) : content);
    }
    return st ? st : put_all(s, "<|im_start|>", "assistant\n", NULL, NULL);
}

static lac_status render_llada(sink *s, const lac_chat_message *messages, size_t n,
                               const char *system, bool drops_thoughts)
{
    (void)system, (void)drops_thoughts;
    lac_status st = put_marker(s, "<|startoftext|>");
    for (size_t i = 0; i < n && !st; i++) {
        st = put_all(s, "<|start_header_id|>", messages[i].role, "<|end_header_id|>", "\n\n");
        if (!st) st = put_trimmed(s, messages[i].content);
        if (!st) st = put_marker(s, "<|eot_id|>");
    }
    return st ? st : put_all(s, "<|start_header_id|>", "assistant", "<|end_header_id|>", "\n\n");
}

/* The first system text and the template's fixed line share a turn. */
static lac_status render_llada2(sink *s, const lac_chat_message *messages, size_t n,
                                const char *system, bool drops_thoughts)
{
    const bool has_system = has_role(&messages[0], "system");
    lac_status st = put_all(s, "<role>", "SYSTEM", "</role>", NULL);
    if (!st && has_system) st = put_all(s, NULL, messages[0].content, NULL, "\n");
    if (!st) st = put_all(s, NULL, system, "<|role_end|>", NULL);
    for (size_t i = has_system; i < n && !st; i++) {
        const lac_chat_message *m = &messages[i];
        const bool is_answer = has_role(m, "assistant");
        const char *role = is_answer ? "ASSISTANT" : has_role(m, "user") ? "HUMAN" : "SYSTEM";
        const char *content = is_answer && drops_thoughts ? skip_thoughts(m->content) : m->content;
        st = put_all(s, "<role>", role, "</role>", content);
        if (!st) st = put_marker(s, "<|role_end|>");
    }
    return st ? st : put_all(s, "<role>", "ASSISTANT", "</role>", NULL);
}

/* RND1 was trained on plain text: questions and answers, a system text as a paragraph in front. */
static lac_status render_rnd1(sink *s, const lac_chat_message *messages, size_t n,
                              const char *system, bool drops_thoughts)
{
    (void)system, (void)drops_thoughts;
    lac_status st = LAC_OK;
    for (size_t i = 0; i < n && !st; i++) {
        const lac_chat_message *m = &messages[i];
        const char *head = has_role(m, "user") ? "Question: " : "";
        if (has_role(m, "assistant")) head = "Answer: ";
        const char *tail = has_role(m, "user") ? "\n" : "\n\n";
        st = put_text(s, head);
        if (!st) st = put_text(s, m->content);
        if (!st) st = put_text(s, tail);
    }
    return st ? st : put_text(s, "Answer:");
}

static lac_status render_none(sink *s, const lac_chat_message *messages, size_t n,
                              const char *system, bool drops_thoughts)
{
    (void)system, (void)drops_thoughts;
    lac_status st = LAC_OK;
    for (size_t i = 0; i < n && !st; i++) {
        if (i) st = put_text(s, "\n");
        if (!st) st = put_text(s, messages[i].content);
    }
    return st;
}

static const chat_style styles[] = {
    { "llada", render_llada, NULL, false },
    { "dream", render_chatml, "You are a helpful assistant.", false },
    { "sdar", render_chatml, NULL, true },
    { "fast-dllm", render_chatml,
      "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.", false },
    { "llada2", render_llada2, "detailed thinking off", true },
    { "rnd1", render_rnd1, NULL, false },
    { "chatml", render_chatml, NULL, false },
    { "none", render_none, NULL, false },
};

/* ------------------------------------------------------------------ interface */

const char *laci_chat_names(void)
{
    return "llada,dream,sdar,fast-dllm,llada2,rnd1,chatml,none";
}

static const chat_style *find_style(const char *name)
{
    for (size_t i = 0; name && i < sizeof styles / sizeof styles[0]; i++)
        if (!strcmp(styles[i].name, name)) return &styles[i];
    return NULL;
}

bool laci_chat_known(const char *name)
{
    return find_style(name) != NULL;
}

static lac_status check_messages(const lac_chat_message *messages, size_t n, lac_error *err)
{
    if (!messages || !n) return laci_fail(err, LAC_EINVAL, 0, "chat without a message");
    for (size_t i = 0; i < n; i++) {
        const lac_chat_message *m = &messages[i];
        if (!m->role || !m->content)
            return laci_fail(err, LAC_EINVAL, 0, "message %zu of %zu lacks role or content", i, n);
        if (!has_role(m, "system") && !has_role(m, "user") && !has_role(m, "assistant"))
            return laci_fail(err, LAC_EINVAL, 0,
                             "message %zu has role \"%s\", known are system, user and assistant", i,
                             laci_quote(m->role, strlen(m->role)).text);
    }
    return LAC_OK;
}

static lac_status render(sink *s, const char *name, const lac_chat_message *messages, size_t n)
{
    const chat_style *style = find_style(name);
    if (!style)
        return laci_fail(s->err, LAC_EINVAL, 0, "unknown chat template \"%s\", known are %s",
                         name ? laci_quote(name, strlen(name)).text : "", laci_chat_names());
    lac_status st = check_messages(messages, n, s->err);
    if (st) return st;
    s->name = style->name;
    return style->render(s, messages, n, style->system, style->drops_thoughts);
}

lac_status laci_chat_encode(const laci_tokenizer *tok, const char *name,
                            const lac_chat_message *messages, size_t n_messages, laci_ids *out,
                            lac_error *err)
{
    sink s = { .tok = tok, .out = out, .text = { .mem = out->mem }, .err = err };
    const size_t n_before = out->n;
    lac_status st = render(&s, name, messages, n_messages);
    if (!st) st = flush(&s);
    if (st) out->n = n_before;
    laci_bytes_clear(&s.text);
    return st;
}

lac_status laci_chat_render(const char *name, const lac_chat_message *messages, size_t n_messages,
                            const lac_allocator *mem, char **text, size_t *n, lac_error *err)
{
    sink s = { .text = { .mem = laci_allocator_or_default(mem) }, .err = err };
    lac_status st = render(&s, name, messages, n_messages);
    if (!st) st = laci_bytes_append(&s.text, "", 1, err);
    if (st) {
        laci_bytes_clear(&s.text);
        return st;
    }
    *text = s.text.data;
    *n = s.text.n - 1;
    return LAC_OK;
}
