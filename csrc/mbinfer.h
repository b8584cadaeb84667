/* mbinfer: runs MobileNet-class networks in the least RAM. This header is the whole C API and its manual.
 *
 * Goals
 *   - The memory that a network takes is known before the first run, to the byte: mbi_plan.peak_bytes.
 *   - Nothing is allocated by mbi_session_run; mbi_session_run_rows allocates its few rows the first time.
 *   - Every failure is a status and a message. The library never prints, aborts or exits, and no C++ exception leaves
 *     it.
 * Non-goals: training, batches of more than one, dynamic shapes, reading JPEG or PNG.
 *
 * A program in full:
 *
 *     #include <mbinfer.h>
 *     #include <stdio.h>
 *     #include <stdlib.h>
 *
 *     int main(void) {
 *       mbi_session *session;
 *       if (mbi_session_open("mnv2.bin", NULL, &session) != MBI_OK) {
 *         fprintf(stderr, "%s\n", mbi_last_error()->message);
 *         return 1;
 *       }
 *       const mbi_tensor *in = mbi_session_input(session, 0), *out = mbi_session_output(session, 0);
 *       void *image = calloc(1, in->bytes);  // fill it: in->dims is {1, height, width, channels}
 *       float *scores = malloc(out->bytes);
 *       mbi_input inputs[] = {{image, in->bytes, in->dtype}};
 *       mbi_output outputs[] = {{scores, out->bytes}};
 *       mbi_status status = mbi_session_run(session, inputs, 1, outputs, 1);
 *       if (status == MBI_OK) printf("%g\n", scores[0]);
 *       mbi_session_close(session);
 *       free(image);
 *       free(scores);
 *       return status != MBI_OK;
 *     }
 *
 * Ownership: the caller owns what it passes in, and the library keeps no pointer to it after the call (but see
 *   mbi_session_open_memory). What the library returns a pointer to belongs to the session and lives until
 *   mbi_session_close; mbi_last_error's belongs to the thread and holds until its next failing call. All strings are
 *   UTF-8 and end in a zero byte.
 * Threads: any thread may use any session. Runs of one session wait in turn; sessions on several threads run side by
 *   side. Only mbi_session_close must be the last call on its session. A session's own threads help the calling one and
 *   are never waited for unless they run: where other programs use the CPUs, or there are fewer CPUs than threads, a
 *   run takes about as long as on one thread. They block signals. After fork() the child may use and close the sessions
 *   of its parent; it gets threads of its own.
 * Floating point: a run rounds to nearest and takes numbers below 2^-126 for zero, whatever the caller's mode, which it
 *   leaves as it was. The source of rows runs in the caller's.
 * Errors: functions that return mbi_status say MBI_OK or why not; functions that return a pointer return NULL. Both
 *   then leave the reason in mbi_last_error(). A null argument where none is allowed is MBI_ARGUMENT.
 * Growth: later versions append to these structs and enums, and never reorder them. mbi_options is the only struct that
 *   the caller makes: set it up by mbi_options_init, which learns its size. Programs that were compiled with an older
 *   header go on working; with a later one too, as long as they set no option that the library does not know.
 * Files: a model file is mapped and used in place. Install a new model by renaming it over the old one, as every writer
 *   of mbinfer does: open sessions keep the old one. Where a file is cut or overwritten in place, runs that begin after
 *   it are refused with MBI_FORMAT; one that is under way may read changed numbers, or, past a new end, be killed by
 *   the system (SIGBUS). The option `copy` is safe from both.
 *
 * Link with libmbinfer.a, the C++ library and threads; find_package(mbinfer) and `pkg-config mbinfer` know how.
 */
#ifndef MBINFER_H
#define MBINFER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define MBI_API extern "C" __attribute__((visibility("default")))
#else
#define MBI_API __attribute__((visibility("default")))
#endif

typedef enum mbi_status {
  MBI_OK = 0,
  MBI_FORMAT = 1,       /* a model file that is damaged, cut short, or of a version that this build does not read */
  MBI_UNSUPPORTED = 2,  /* a valid request that cannot run; mbi_error.node and .op name the place in the model */
  MBI_SHAPE = 3,        /* an input or output whose count, dtype or size is not the model's */
  MBI_MEMORY_LIMIT = 4, /* no plan fits the limit; mbi_error.needed is the least that would do */
  MBI_ARGUMENT = 5,     /* a null pointer, or an option that is unknown or out of range */
  MBI_FILE = 6,         /* the file cannot be opened or mapped; the message has the system's reason */
  MBI_NO_MEMORY = 7,    /* the system refused memory or threads */
  MBI_INTERNAL = 8,     /* a bug in mbinfer */
  MBI_STOPPED = 9       /* the caller ended the run */
} mbi_status;

typedef struct mbi_error {
  mbi_status status;
  const char* message;    /* what failed, where, and what would help */
  const char *node, *op;  /* of MBI_UNSUPPORTED, otherwise "" */
  uint64_t needed, limit; /* of MBI_MEMORY_LIMIT, in bytes, otherwise 0 */
} mbi_error;

/* The last failure on this thread; MBI_OK and "" before the first. Never NULL. Successful calls leave it alone. */
MBI_API const mbi_error* mbi_last_error(void);

/* Such as "0.1.0". */
MBI_API const char* mbi_version(void);

enum {
  MBI_NO_LIMIT = -1,    /* the fastest plan */
  MBI_LEAST_MEMORY = -2 /* the smallest arena, whatever it costs in time */
};

typedef struct mbi_options {
  size_t size;            /* of this struct, as mbi_options_init was told; leave it */
  int32_t threads;        /* 1 to 256, the calling one included. Default 1 */
  int32_t chunks;         /* split every fused block's expanded channels t ways; 0: the planner chooses. Default 0 */
  int64_t memory_limit;   /* most bytes of the arena, MBI_NO_LIMIT or MBI_LEAST_MEMORY. Default MBI_NO_LIMIT */
  const char* schedule;   /* "auto", "naive", "layerwise", "fused" or "streamed". Default "auto" */
  const char* isa;        /* "reference", "avx2", "avxvnni", "avx512", "avx512vnni", "neon" or "neon-dotprod"; NULL:
                             $MBINFER_ISA, else the fastest. Default NULL */
  int32_t verify;         /* not 0: also checksum the weights, which reads them all. Default 0 */
  int32_t recompute;      /* 0: no multiply-add is done twice; else a streamed plan may, to save memory. Default 1 */
  int32_t copy;           /* not 0: hold the weights in private memory, in place of a mapped file. Default 0 */
  int32_t plan_only;      /* not 0: tell the plan, take no arena and no threads; runs are MBI_ARGUMENT. Default 0 */
  double most_recomputed; /* most multiply-adds done twice, as a share of the network's; 0: any number. Default 0 */
} mbi_options;

/* Sets the defaults. `size` is sizeof(mbi_options) where the caller was compiled: no byte beyond it is touched. */
MBI_API mbi_status mbi_options_init(mbi_options* options, size_t size);

typedef enum mbi_dtype { MBI_FLOAT32 = 1, MBI_INT8 = 3, MBI_UINT8 = 4 } mbi_dtype;

/* What the model takes or gives: contiguous, the last dimension fastest. Images are {1, height, width, channels}. */
typedef struct mbi_tensor {
  const char* name;
  int32_t dtype;   /* mbi_dtype; of inputs: MBI_UINT8 where the model has a recipe */
  int32_t rank;    /* 0 to 8 */
  int64_t dims[8]; /* those from `rank` on are 0 */
  size_t bytes;    /* of the whole tensor in that dtype */
  /* The recipe for pictures; mean and scale are applied by mbi_session_run. */
  const char* color; /* "RGB", "BGR" or "grey": the order of the channels; NULL without a recipe */
  float crop;        /* side of the central square to take, as a share of the shorter side; 0 without a recipe */
  float scale;       /* of quantised numbers, which stand for (number - zero_point) * scale; 0 of others */
  int32_t zero_point;
} mbi_tensor;

/* What a session will do and the memory that it takes. Sizes in bytes. */
typedef struct mbi_plan {
  const char *schedule, *isa; /* as chosen */
  int32_t threads;
  int64_t peak_bytes;                                /* the arena, which holds everything that mbi_session_run makes */
  int64_t input_bytes;                               /* what the caller holds */
  int64_t weight_bytes;                              /* mapped from the file and used in place */
  int64_t naive_bytes, layerwise_bytes, fused_bytes; /* the arena that each schedule would take */
  int64_t lower_bound_bytes;                         /* no order and no placement of this plan's buffers takes less */
  int64_t macs, extra_macs;  /* multiply-adds of the network, and what recomputation adds to them */
  const int32_t* input_rows; /* for each input, the rows of it that mbi_session_run_rows holds, beside the arena */
  int64_t moved_bytes;       /* of values that change their place in a run */
  double cycles;             /* one thread's time by the cost model */
  int64_t state_bytes;       /* of the arena: what the states of the model keep from run to run */
} mbi_plan;

typedef struct mbi_session mbi_session;

/* Maps the model file at `path`, checks and plans it, and allocates the arena. `options` may be NULL: the defaults.
 * Sets *session, to NULL on failure. Any failure but MBI_SHAPE. */
MBI_API mbi_status mbi_session_open(const char* path, const mbi_options* options, mbi_session** session);

/* The same of an open file, from its first byte on, whatever its position. The descriptor stays the caller's, and may
 * be closed after the call. */
MBI_API mbi_status mbi_session_open_fd(int fd, const mbi_options* options, mbi_session** session);

/* The same of a model file's bytes in memory. They are used in place, and have to stay as they are until
 * mbi_session_close, where `model` is aligned to 64 bytes and `copy` is not set; otherwise the library keeps a copy of
 * the weights, and needs them during the call only. */
MBI_API mbi_status mbi_session_open_memory(const void* model, size_t bytes, const mbi_options* options,
                                           mbi_session** session);

/* Gives back everything. NULL is allowed. */
MBI_API void mbi_session_close(mbi_session* session);

/* 0 for NULL. */
MBI_API size_t mbi_session_input_count(const mbi_session* session);
MBI_API size_t mbi_session_output_count(const mbi_session* session);
MBI_API size_t mbi_session_label_count(const mbi_session* session);

/* NULL, with MBI_ARGUMENT, from the count on. Labels are the class names, in the order of the scores. */
MBI_API const mbi_tensor* mbi_session_input(const mbi_session* session, size_t index);
MBI_API const mbi_tensor* mbi_session_output(const mbi_session* session, size_t index);
MBI_API const char* mbi_session_label(const mbi_session* session, size_t index);

MBI_API const mbi_plan* mbi_session_plan(const mbi_session* session);

/* How the plan runs. Stages that follow each other form a segment, which runs depth-first, row by row: between its
 * stages there are only rings of a few rows. What the functions below return is made when it is first asked for and can
 * take more memory than a small network's arena; counts are 0 for NULL, items NULL from the count on. */

/* Between two barriers: what a thread makes its own piece of, one operator after the other, without waiting for others.
 */
typedef struct mbi_pass {
  const char* const* operators; /* such as "conv" */
  size_t operator_count;
  const char* axis; /* of what the last one makes, that threads cut: "rows", "pixels" or "panels" of 8 channels */
} mbi_pass;

/* A node, or several nodes fused into one operator. */
typedef struct mbi_stage {
  const char *name, *kind;        /* "bottleneck", "head", "conv", "dense", or the operator of its only node */
  size_t segment;                 /* that it belongs to */
  const char* const* nodes;       /* names, in the order in which they run */
  const char* const* inputs;      /* values: what it filters, then what it adds */
  size_t node_count, input_count; /* of these two */
  const char* output;
  int32_t height, width, channels; /* of the output */
  int32_t rows, step;              /* output rows of a strip, and those made at a time within it */
  int32_t chunk, chunks;           /* channels of the expanded tensor at a time (0: it has none), and how often */
  int32_t keep;             /* not 0: expanded rows stay from strip to strip, or a pool takes rows as they are made */
  int32_t ring_rows;        /* of the output, in the arena at once */
  int64_t macs, extra_macs; /* multiply-adds of the network, and what recomputation adds to them */
  int64_t scratch_bytes;    /* of its own buffers */
  int64_t bytes;            /* of values read and written and of weights read, each once */
  const mbi_pass* passes;   /* what threads share out, one pass after the other */
  size_t pass_count;
  const char* why; /* why the nodes around it are not part of it; "" where there is nothing to say */
} mbi_stage;

typedef struct mbi_segment {
  const char* name;                /* of its last stage */
  size_t first_stage, stage_count; /* its stages follow each other */
  int64_t live_bytes;              /* of its buffers; an output and the input that it slides over count twice */
  int64_t top_bytes;               /* where the highest of them ends */
} mbi_segment;

/* Bytes [offset, offset + bytes) of the arena, in use from segment `first` to segment `last`, both included. */
typedef struct mbi_buffer {
  const char* name; /* of the value, of the stage, or for scratch of its segment */
  const char* kind; /* "value" (whole), "ring" (rows of a value), "expanded" (kept rows of a stage), "scratch" */
  int64_t offset, bytes;
  int32_t rows; /* 0 for scratch */
  size_t first, last;
} mbi_buffer;

MBI_API size_t mbi_session_stage_count(const mbi_session* session);
MBI_API size_t mbi_session_segment_count(const mbi_session* session);
MBI_API size_t mbi_session_buffer_count(const mbi_session* session);
MBI_API const mbi_stage* mbi_session_stage(const mbi_session* session, size_t index);
MBI_API const mbi_segment* mbi_session_segment(const mbi_session* session, size_t index);
MBI_API const mbi_buffer* mbi_session_buffer(const mbi_session* session, size_t index);

/* All of it and mbi_plan as one JSON object, as `mbinfer plan --json` prints it. */
MBI_API const char* mbi_session_plan_json(const mbi_session* session);

typedef struct mbi_input {
  const void* data; /* aligned for its dtype */
  size_t bytes;
  int32_t
      dtype; /* that of the model's input (MBI_UINT8 with a recipe: normalised by it), or MBI_FLOAT32: real numbers */
} mbi_input;

typedef struct mbi_output {
  void* data; /* of the dtype that mbi_session_output says */
  size_t bytes;
} mbi_output;

/* Ends the run of this session that is going on, on whatever thread, within about a step of it: that run returns
 * MBI_STOPPED, and the session can run again. Does nothing between runs, and for NULL. The only function of this header
 * that a signal handler may call. */
MBI_API void mbi_session_interrupt(mbi_session* session);

/* Runs the network once, on all inputs and into all outputs in the model's order. Counts and sizes have to be exact.
 * MBI_SHAPE where one is not, or where an input is MBI_UINT8 and the model has no recipe; nothing is written then.
 * A model with states (the last rows of a stream, for instance) goes on from where the run before this one left them. A
 * run that fails or is ended early leaves them as it found them. */
MBI_API mbi_status mbi_session_run(mbi_session* session, const mbi_input* inputs, size_t input_count,
                                   const mbi_output* outputs, size_t output_count);

/* Makes the states of the model what they were when the session was opened, as at the beginning of another stream.
 * Waits for the run that is going on, as another run would. Nothing to do for a model without states. */
MBI_API mbi_status mbi_session_reset(mbi_session* session);

/* Writes row `row` of the image, {width, channels}, to `to`, which is aligned for its dtype. Returns 0, or anything
 * else to end the run. */
typedef int (*mbi_pull_row)(void* context, size_t row, void* to);

/* Runs a model with one input on rows as they arrive, from a camera or a decoder: calls pull(context, row, to) on this
 * thread, once for each row, from 0 to height - 1. dtype: as of mbi_input. MBI_STOPPED where
 * `pull` ends the run: nothing is written then, and the session can run again. `pull` may not run the same session
 * (MBI_ARGUMENT). MBI_SHAPE as of mbi_session_run, and where the model has several inputs. */
MBI_API mbi_status mbi_session_run_rows(mbi_session* session, int32_t dtype, mbi_pull_row pull, void* context,
                                        const mbi_output* outputs, size_t output_count);

#endif
