/* llama_flags.c: see llama_flags.h. Names are those of llama-cli and llama-diffusion-cli
 * (https://github.com/ggml-org/llama.cpp, tools/cli/README.md), long and short. */
#include "run/llama_flags.h"

#define NO_EFFECT(names, value, why) \
    {                                \
        names, value, false, why     \
    }
#define REFUSED(names, why)          \
    {                                \
        names, ARGS_VALUE, true, why \
    }

#define HOW_TO_GET                                                                              \
    "this program fetches nothing; download the model's folder or GGUF file, for example with " \
    "huggingface-cli download, and give it with -m"

/* The table keeps its own layout: one entry a reason. */
/* clang-format off */
const args_foreign llama_flags[] = {
    /* the machine */
    NO_EFFECT("batch-size,b", ARGS_VALUE, "a pass has the size it needs"),
    NO_EFFECT("ubatch-size,ub", ARGS_VALUE,
              "a pass has the size it needs; -n says how many tokens to generate"),
    NO_EFFECT("threads-batch,tb", ARGS_VALUE, "-t is for everything"),
    NO_EFFECT("cpu-mask,C,cpu-range,Cr,cpu-mask-batch,Cb,cpu-range-batch,Crb,cpu-strict,"
              "cpu-strict-batch,prio,prio-batch,poll,poll-batch,numa", ARGS_VALUE,
              "placing and waiting are left to the system: taskset, numactl, nice"),
    NO_EFFECT("flash-attn,fa", ARGS_MAYBE_VALUE, "attention never forms the whole matrix"),
    NO_EFFECT("mmap,no-mmap,mlock,direct-io,dio,no-direct-io,ndio", ARGS_NO_VALUE,
              "weights are read from the mapped file once, into memory of their own"),
    NO_EFFECT("load-mode,lm", ARGS_VALUE,
              "weights are read from the mapped file once, into memory of their own"),
    NO_EFFECT("repack,no-repack,nr,no-host,check-tensors", ARGS_NO_VALUE,
              "weights are always checked and packed for the processor"),
    NO_EFFECT("cache-type-k,ctk,cache-type-v,ctv", ARGS_VALUE,
              "keys and values have the type of --dtype"),
    NO_EFFECT("kv-offload,kvo,no-kv-offload,nkvo,op-offload,no-op-offload", ARGS_NO_VALUE,
              "a model runs in one place, keys and values with it"),
    NO_EFFECT("split-mode,sm,tensor-split,ts,fit-target,fitt,fit-ctx,fitc", ARGS_VALUE,
              "a model runs in one place"),
    NO_EFFECT("fit", ARGS_MAYBE_VALUE, "what does not fit is refused; see --max-memory"),
    NO_EFFECT("defrag-thold,dt,parallel,np,cache-ram,cram,ctx-checkpoints,ctxcp,swa-checkpoints",
              ARGS_VALUE, "a run is one generation with a cache of its own"),
    NO_EFFECT("cont-batching,cb,no-cont-batching,nocb,swa-full", ARGS_NO_VALUE,
              "a run is one generation with a cache of its own"),
    NO_EFFECT("warmup,no-warmup", ARGS_NO_VALUE, "there is no warm-up"),
    NO_EFFECT("perf,no-perf,show-timings,no-show-timings", ARGS_NO_VALUE,
              "the summary has the times; -q leaves it out"),
    NO_EFFECT("offline", ARGS_NO_VALUE, "nothing is ever fetched"),
    /* prompt and console */
    NO_EFFECT("single-turn,st", ARGS_NO_VALUE, "a run is one turn"),
    NO_EFFECT("jinja,no-jinja", ARGS_NO_VALUE, "chat templates are built in; see --chat-template"),
    NO_EFFECT("no-escape", ARGS_NO_VALUE, "a prompt is taken as it is"),
    NO_EFFECT("keep", ARGS_VALUE, "the whole prompt is always kept"),
    NO_EFFECT("context-shift,no-context-shift", ARGS_NO_VALUE, "the length is known beforehand"),
    NO_EFFECT("simple-io,display-prompt,no-display-prompt,multiline-input,mli", ARGS_NO_VALUE,
              "standard output is the text alone"),
    NO_EFFECT("color,co,log-colors", ARGS_MAYBE_VALUE,
              "colours are on where there is a terminal; see --no-color"),
    NO_EFFECT("log-disable,log-prefix,no-log-prefix,log-timestamps,no-log-timestamps",
              ARGS_NO_VALUE, "messages go to standard error; see -q and -v"),
    NO_EFFECT("log-file,verbosity,lv,log-verbosity", ARGS_VALUE,
              "messages go to standard error; see -q and -v"),
    NO_EFFECT("log-verbose,verbose-prompt", ARGS_NO_VALUE, "see -v"),
    /* diffusion */
    NO_EFFECT("diffusion-add-gumbel-noise", ARGS_MAYBE_VALUE,
              "sampling follows the model family; above temperature 0 LLaDA's adds the noise"),
    NO_EFFECT("diffusion-visual-progress", ARGS_NO_VALUE, "--visual shows the steps too"),
    NO_EFFECT("diffusion-visual-interval", ARGS_VALUE, "--visual shows every step"),

    REFUSED("hf-repo,hf,hfr,hf-file,hff,hf-token,hft,model-url,mu,docker-repo,dr", HOW_TO_GET),
    REFUSED("conversation,cnv,interactive,i,interactive-first,if",
            "there is no conversation mode; a run answers one prompt (-p)"),
    REFUSED("no-conversation,no-cnv",
            "there is no conversation mode to leave; --chat-template none gives the model the bare "
            "text"),
    REFUSED("escape,e", "a prompt is taken as it is; a shell writes $'a\\nb'"),
    REFUSED("reverse-prompt,r", "a run ends at -n tokens or at the model's end token"),
    REFUSED("special,sp", "special tokens have no text; --json has their ids"),
    REFUSED("output-file,output,o", "the text goes to standard output: > FILE"),
    REFUSED("system-prompt-file,sysf", "give the text itself with -sys"),
    REFUSED("binary-file,bf", "-f reads any bytes"),
    REFUSED("chat-template-file,chat-template-kwargs",
            "chat templates are built in; see --chat-template"),
    REFUSED("min-p,typical,typical-p,top-nsigma,top-n-sigma,xtc-probability,xtc-threshold,"
            "repeat-last-n,repeat-penalty,presence-penalty,frequency-penalty,dry-multiplier,"
            "dry-base,dry-allowed-length,dry-penalty-last-n,dry-sequence-breaker,dynatemp-range,"
            "dynatemp-exp,mirostat,mirostat-lr,mirostat-ent,adaptive-target,adaptive-decay,"
            "samplers,sampler-seq,sampling-seq,logit-bias,l,backend-sampling,bs",
            "sampling knows --temp, --top-k and --top-p"),
    REFUSED("grammar,grammar-file,json-schema,j,json-schema-file,jf",
            "generation cannot be bound to a grammar"),
    REFUSED("lora,lora-scaled,control-vector,control-vector-scaled,control-vector-layer-range,"
            "override-kv,override-tensor,ot",
            "a model runs as its files say"),
    REFUSED("mmproj,mm,mmproj-url,mmu,image,audio,video", "models read text alone"),
    REFUSED("model-draft,md,draft,draft-n,draft-max,spec-type,spec-draft-model",
            "there is no speculative decoding"),
    REFUSED("dev", "--device N is the number of a CUDA device, --backend cpu the processor"),
    REFUSED("rpc", "a model runs on this machine"),
    REFUSED("list-devices", "lacuna --version names the backends, --device N chooses one"),
};
/* clang-format on */
const size_t n_llama_flags = sizeof llama_flags / sizeof *llama_flags;
