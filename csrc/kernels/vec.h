// What the leaf of an instruction set offers to the kernels that are written once. Comments only, included by none.
//
// A leaf is two files, vec_<isa>.h and tile_<isa>.h, which isa.cpp includes where it is compiled for that set.
// Everything that exists because of one CPU or one compiler is there, `asm` included, and has a paragraph that says
// symptom, remedy and gain. A remedy that gains less than 2 % on an idle core has to say what it gains otherwise, or
// leave.
//
// vec_<isa>.h
//   struct f32x8           eight float32 lanes, one panel
//   struct f32x16          where there are registers of that size: sixteen lanes, two panels side by side
//   of each vector V:
//     V::kPanels           panels of 8 lanes that it holds
//     V::load(p), V::splat(x), V::widen_u8(bytes), store(p, v)
//     V::load(Half*)       of weights: as float32, exactly, denormals included whatever the mode of the CPU is
//     V::load_kept(p)      of a value for several uses: loaded into a register, once
//     add, sub, mul (a, b), fma(a, b, c): a * b + c, rounded once
//     fma_in_place(a, b, c) the same, which leaves c's register to the sum, where a compiler would not
//     greater(a, b)        a > b ? a : b, lane by lane: b for NaN and for zeros of either sign
//     less(a, b)           a < b ? a : b
//     nan_or(x, other)     x where it is NaN, else other
//     div(a, b)            rounded as IEEE 754 says
//     exponent_of(x)       the last nine bits of x as sign and exponent of a float: 2^n for 1.5 * 2^23 + 127 + n
//     root(x)              the square root, rounded as IEEE 754 says
//     binary_log(x, &rest) n of x = 2^n * rest, with rest from sqrt(1/2) up to sqrt(2), of positive x
//   pace(p)                p, and no compiler derives other pointers from it: a pointer that walks is one register
//
// tile_<isa>.h
//   wide                   the widest vector: f32x8 or f32x16
//   struct Tiles<V>        the sizes that suit the register file:
//     gemm_pixels[n]       most pixels of a matrix tile of n vectors, 1 to 4
//     gemm_vectors         most vectors of a tile
//     vectors_of(left, pair, pixels, tiles)
//                          those of the next tile, of so many that are left; pair: they begin with a pair of panels;
//                          the tiles of two vectors that so many pixels take, or of one, where that is the most
//     depthwise_pixels[n]  most pixels of a depthwise tile of kernel 2n + 1
//     prefetch_inputs[2]   of a matrix tile of few and of many inputs: after so many, weights are asked for ahead
//     thin_vectors         vectors side by side where a depthwise tile has at most half as many pixels
//     weights_walk         the weights of the next panel are found from these, not anew: pays where panels are many
//     columns_ahead        columns loaded before they are multiplied: for cores that run in order
//   struct Dense<W>        a tile of one pixel, with weights of W: V, and how many `vectors` of it
//   kTurn                  inputs of a pixel that a tile takes at a time, where every tap has a multiple of them
//   Tile<V, kPixels, kVectors, kWhole>
//                          a register tile of the matrix kernel. kWhole: every tap has a multiple of kTurn inputs
//     sums[pixel][vector]
//     multiply(in, pixels, weights, parts, k)
//                          adds k inputs, k > 0, of each pixel times the rows of each vector, in order of the inputs.
//                          `in`: pixel 0; `weights`: the first panel's, floats or Halves, rows kRow apart, see
//                          row_of(); pixels, parts: how far each pixel and part of the weights is from the first one,
//                          in bytes
//     kMostListed<W>       where it is more than 0, for up to so many taps of weights W:
//     listed(start, more, taps, end, pixel, ahead)
//                          makes all sums by itself, of pixels from `pixel` on: those of the first one begin at
//                          `start`, of the next one `more` bytes further; of Inputs: in, from pixel to pixel, weights,
//                          how many. ahead: of one pair of panels, how far behind each turn's weights two lines are
//                          that are wanted next, 0: none; of several, how far the next pair's weights are
//     settle()             multiplications are over: before the first take()
//     take(pixel, vector)  a sum, to be finished and stored before the next one is taken
