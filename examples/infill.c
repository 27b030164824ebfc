/* infill.c: holes in the middle of a text. A model that writes left to right cannot look at what
 * comes after a gap; a diffusion model sees both sides.
 *
 *   ./infill models/nano-f "There was a lit" 3 " girl who lived with her mother." */
#include <lacuna.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fail(const lac_error *err)
{
    fprintf(stderr, "infill: %s\n", err->message);
    return 1;
}

/* Joins text, holes and text into one canvas. Returns NULL, and fills *err, on failure. */
static int32_t *make_canvas(const lac_model *model, const char *before, size_t n_holes,
                            const char *after, size_t *n_canvas, lac_error *err)
{
    int32_t *left = NULL, *right = NULL, *canvas = NULL;
    size_t n_left = 0, n_right = 0;
    if (lac_model_encode(model, before, strlen(before), NULL, &left, &n_left, err)) goto done;
    if (lac_model_encode(model, after, strlen(after), NULL, &right, &n_right, err)) goto done;
    *n_canvas = n_left + n_holes + n_right;
    canvas = malloc((*n_canvas + 1) * sizeof *canvas);
    if (!canvas) {
        snprintf(err->message, sizeof err->message, "out of memory");
        goto done;
    }
    memcpy(canvas, left, n_left * sizeof *canvas);
    for (size_t i = 0; i < n_holes; i++)
        canvas[n_left + i] = LAC_HOLE; /* to be filled */
    memcpy(canvas + n_left + n_holes, right, n_right * sizeof *canvas);
done:
    lac_model_free_ids(model, left);
    lac_model_free_ids(model, right);
    return canvas;
}

int main(int argc, char **argv)
{
    const long n_holes = argc == 5 ? strtol(argv[3], NULL, 10) : 0;
    if (n_holes < 1 || n_holes > 10000) {
        fprintf(stderr, "usage: infill MODEL BEFORE HOLES AFTER\n");
        return 2;
    }
    lac_model *model = NULL;
    lac_session *session = NULL;
    int32_t *canvas = NULL;
    char *text = NULL;
    size_t n_canvas = 0, n_text = 0;
    lac_error err = { .message = "" };
    int code = 0;

    if (lac_model_open(&model, argv[1], NULL, &err)) code = fail(&err);
    if (!code) {
        canvas = make_canvas(model, argv[2], (size_t)n_holes, argv[4], &n_canvas, &err);
        if (!canvas) code = fail(&err);
    }

    /* The session is sized once; the loop inside lac_generate takes no further memory. With holes
     * in the ids nothing is appended, and by default each step fixes one token. */
    const lac_session_options room = { .n_ctx = (int)n_canvas };
    if (!code && lac_session_create(&session, model, &room, &err)) code = fail(&err);
    lac_result result;
    if (!code && lac_generate(session, canvas, n_canvas, NULL, &result, &err)) code = fail(&err);

    /* result.canvas is the whole text; result.ids only what was filled in, with the step of each.
     */
    if (!code &&
        lac_model_decode(model, result.canvas, result.n_canvas, false, &text, &n_text, &err))
        code = fail(&err);
    if (!code) printf("%s\n", text);
    for (size_t i = 0; !code && i < result.n_ids; i++)
        fprintf(stderr, "position %d: '%s' in step %d, log-probability %.3f\n", result.position[i],
                lac_model_piece(model, result.ids[i], NULL), result.step_map[i],
                (double)result.logprobs[i]);

    lac_model_free_text(model, text);
    lac_session_free(session);
    free(canvas);
    lac_model_close(model);
    return code;
}
