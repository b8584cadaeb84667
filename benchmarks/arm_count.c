/* A QEMU plugin that counts executed instructions by function, for benchmarks/arm.py. QEMU 7.2 and later, user mode.
 *
 * Every translated block gets one counter, which adds the block's length each time that it runs; at the end the
 * counters are added up by the symbol in which their block begins. The plugin interface is declared here, as
 * distributions do not package its header. Programs of one thread only: the counters are not atomic. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { QEMU_PLUGIN_INLINE_ADD_U64 };
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb* tb);
struct qemu_plugin_insn* qemu_plugin_tb_get_insn(const struct qemu_plugin_tb* tb, size_t index);
const char* qemu_plugin_insn_symbol(const struct qemu_plugin_insn* insn);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, void (*call)(qemu_plugin_id_t, struct qemu_plugin_tb*));
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb* tb, int op, void* counter, uint64_t amount);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, void (*call)(qemu_plugin_id_t, void*), void* data);
void qemu_plugin_outs(const char* text);

EXPORT int qemu_plugin_version = 1;

struct block {
  uint64_t executed;
  const char* symbol; /* QEMU's own, which stays */
  struct block* next;
};
static struct block* blocks;

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb* tb) {
  struct block* block = calloc(1, sizeof *block);
  if (!block) abort();
  block->symbol = qemu_plugin_insn_symbol(qemu_plugin_tb_get_insn(tb, 0));
  block->next = blocks;
  blocks = block;
  qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64, &block->executed,
                                           qemu_plugin_tb_n_insns(tb));
  (void)id;
}

/* One line for each block; who reads them adds up equal names. */
static void at_exit(qemu_plugin_id_t id, void* data) {
  for (const struct block* block = blocks; block; block = block->next) {
    char line[600];
    if (!block->executed) continue;
    snprintf(line, sizeof line, "count %" PRIu64 " %.500s\n", block->executed, block->symbol ? block->symbol : "?");
    qemu_plugin_outs(line);
  }
  (void)id, (void)data;
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void* info, int argc, char** argv) {
  qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
  qemu_plugin_register_atexit_cb(id, at_exit, NULL);
  (void)info, (void)argc, (void)argv;
  return 0;
}
