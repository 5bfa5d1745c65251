/* temporary */
#include "stack/tcp_congestion.h"
#define C struct vn_tcp_congestion *c
void vn_tcp_congestion_init(C, enum vnic_congestion a, uint32_t m) { c->window_bytes = 10*m; c->threshold_bytes = UINT32_MAX; c->algorithm = (uint8_t)a; }
void vn_tcp_congestion_acked(C, uint32_t m, uint32_t acked, bool l, uint64_t r, uint64_t s, uint64_t p, uint64_t e, uint64_t n) { (void)m;(void)r;(void)s;(void)p;(void)e;(void)n; if (l && c->window_bytes < 1u<<30) c->window_bytes += acked; }
void vn_tcp_congestion_lost(C, uint32_t m, uint32_t f, uint64_t n) { (void)n; (void)m; c->window_bytes = f/2; }
void vn_tcp_congestion_marked(C, uint32_t m, uint32_t f, uint64_t n) { (void)n; (void)m; c->window_bytes = f/2; }
void vn_tcp_congestion_recover(C, uint32_t m, uint32_t d, uint32_t l, uint32_t p) { (void)c;(void)m;(void)d;(void)l;(void)p; }
void vn_tcp_congestion_sent(C, uint32_t b) { (void)c;(void)b; }
void vn_tcp_congestion_recovered(C, uint32_t m) { (void)c;(void)m; }
void vn_tcp_congestion_timeout(C, uint32_t m, uint32_t f, bool i, uint64_t n) { (void)f;(void)i;(void)n; c->window_bytes = m; }
void vn_tcp_congestion_undo(C) { (void)c; }
void vn_tcp_congestion_idle(C, uint32_t m) { (void)c;(void)m; }
void vn_tcp_congestion_resize(C, uint32_t m) { (void)c;(void)m; }
