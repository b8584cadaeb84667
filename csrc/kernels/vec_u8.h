// What the leaf of an instruction set offers to the kernels of uint8, beside what vec.h lists. Comments only, included
// by none.
//
// vec_<isa>_u8.h
//   i32x8                  eight sums: load, splat, widen_u8(bytes), store, add, sub, which wrap around
//   to_float(i32x8), to_int(f32x8): rounded to nearest, half to even, where it fits
//   u8x16                  two panels of bytes: load, load_half, splat, store, store_half, store_second_half, greater,
//                          less; pick(from, which): the bytes of one at the places of the other, zero for place 255
//   store_next(p, bytes, stride)
//                          stores 16 bytes, and returns where the next ones go
//   number(f32x8 x, lo)    the larger one, lo where x is NaN
//   ByteOutput(activation, type)
//                          operator()(a, b): bytes of the steps a and b from the zero point, rounded and clamped;
//                          operator()(sums, scale, bytes): of as many sums of a pair, scaled
//   ByteInputs             kSigned: the tile's products are of inputs less 128, and sums start at the signed bias;
//                          kPrepared: of inputs that prepare(in, k, out) has written, kQuadBytes for each four, and
//                          up to 32 bytes after them
//                          kCorrected: the total() of ByteCorrection is to be added to sums of inputs that were
//                          prepared, add(in, quads) all of them
//                          kAnyWeight: weights of -128 are like any others
//   ByteTile<kPixels, kFull>
//                          a register tile of the matrix kernel, of one pair of panels; kFull: some weights are -128
//     sums[pixel][panel]   of i32x8: set, then start() before the first multiply() and settle() after the last one
//     multiply(in, pixels, weights, quads)
//                          adds four inputs of each pixel at a time, `quads` times; pixels: how far each is from `in`
//     kWhole               whole(start, taps, end, pixel) makes all of a tile, from `pixel` on, whose sums begin at
//                          Start(sums), of Inputs: in, from pixel to pixel, weights, how many times four
//   LoneByteTile<kPixels>  the same of one panel, of which sums[i] has pixel 2i and the one after it
//   ByteTiles              the sizes that suit the register file: gemm_pixels at most, lone_pixels of one panel (0: no
//                          such tiles), waiting_tiles whose sums are made before the first of them becomes bytes,
//                          depthwise_pixels as in vec.h; PairByPair, see panels.h, or
//     wide_pixels          at most, of tiles of up to wide_pairs, of which the next one has pairs_of(left)
//   WideByteTile<kPixels, kPairs>(pair_bytes)
//                          the same of whole pairs that follow one another, their weights so far apart:
//                          sums[pair][pixel]
//   ByteColumns            what a depthwise convolution multiplies: column, outside, weight of kRows rows of kPanels
//                          panels (of two, those `lanes` that may be read); multiply(column, weight, sum)
//   look_up(table, in, out, times)
//                          of so many times kLookUp bytes their numbers in a table of 256; or, where registers are too
//                          few for that, lookup_bytes, the kernel that lookup_u8.h makes of it
