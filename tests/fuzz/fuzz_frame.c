/* SPDX-License-Identifier: MIT */
/*
 * Frames of the TCP ports. The first byte chooses the layer. However a stream is cut into pieces,
 * the same frames are found in it, and what was refused once is refused with more bytes, too.
 */
#include <assert.h>
#include <errno.h>

#include "io/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum vnic_layer layer = VNIC_LAYER_IP;
	size_t at = 0;

	if (size < 1)
		return 0;
	if (data[0] & 1)
		layer = VNIC_LAYER_ETHERNET;
	data++;
	size--;
	for (;;) {
		int whole = vn_frame_parse(data + at, size - at, layer), found = 0;

		assert(whole == -EBADMSG ||
		       (whole >= 0 && whole <= VN_FRAME_LENGTH_BYTES + VN_FRAME_MOST_BYTES &&
			(size_t)whole <= size - at));
		/* As if it came byte by byte; the first are where everything is decided. */
		for (size_t there = 0; there <= size - at && there < 64 && found == 0; there++)
			found = vn_frame_parse(data + at, there, layer);
		assert(found == 0 || found == whole);
		assert(whole != -EBADMSG || found == -EBADMSG);
		if (whole <= 0)
			break;
		assert(whole > VN_FRAME_LENGTH_BYTES);
		assert(vn_frame_is_possible(data + at + VN_FRAME_LENGTH_BYTES,
					    (size_t)whole - VN_FRAME_LENGTH_BYTES,
					    (size_t)whole - VN_FRAME_LENGTH_BYTES, layer));
		at += (size_t)whole;
	}
	return 0;
}
