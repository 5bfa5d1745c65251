/* SPDX-License-Identifier: MIT */
/**
 * @file
 * libvnic: virtual network interfaces for programs.
 *
 * Device: vnic/device.h opens one and moves packets, vnic/link.h configures the kernel's side of
 * it. Handler: vnic/run.h calls a function of yours with each burst of packets. Wire: vnic/wire.h
 * joins two ports (vnic/port.h), interfaces among them. Stack: vnic/stack.h is a host in user
 * space, with addresses of its own.
 */
#ifndef VNIC_VNIC_H
#define VNIC_VNIC_H

#include <vnic/address.h>
#include <vnic/capture.h>
#include <vnic/checksum.h>
#include <vnic/connection.h>
#include <vnic/device.h>
#include <vnic/endpoint.h>
#include <vnic/error.h>
#include <vnic/link.h>
#include <vnic/merge.h>
#include <vnic/netns.h>
#include <vnic/packet.h>
#include <vnic/port.h>
#include <vnic/run.h>
#include <vnic/segment.h>
#include <vnic/socket.h>
#include <vnic/stack.h>
#include <vnic/version.h>
#include <vnic/wire.h>

#endif
