/* Runs a model of one input and one output a number of times on a grey picture: what benchmarks/arm.py counts.
 *
 *   arm_infer MODEL ISA SCHEDULE RUNS */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mbinfer.h"

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  mbi_options options;
  mbi_session* session;
  mbi_options_init(&options, sizeof options);
  options.isa = argv[2];
  options.schedule = argv[3];
  if (mbi_session_open(argv[1], &options, &session) != MBI_OK) {
    fprintf(stderr, "%s\n", mbi_last_error()->message);
    return 1;
  }
  const mbi_tensor *in = mbi_session_input(session, 0), *out = mbi_session_output(session, 0);
  const size_t image_bytes = in->dtype == MBI_UINT8 ? in->bytes * 4 : in->bytes; /* float32, as the peers get it */
  float *image = malloc(image_bytes), *scores = malloc(out->bytes);
  if (!image || !scores) return 1;
  for (size_t i = 0; i < image_bytes / sizeof *image; i++) image[i] = 0.5f;
  const mbi_input input = {image, image_bytes, MBI_FLOAT32};
  const mbi_output output = {scores, out->bytes};
  for (int run = atoi(argv[4]); run > 0; run--)
    if (mbi_session_run(session, &input, 1, &output, 1) != MBI_OK) {
      fprintf(stderr, "%s\n", mbi_last_error()->message);
      return 1;
    }
  mbi_session_close(session);
  return 0;
}
