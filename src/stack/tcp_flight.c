/* temporary */
#include "stack/tcp_flight.h"
#include <errno.h>
#include <string.h>
void vn_tcp_flight_init(struct vn_tcp_flight *f) { memset(f, 0, sizeof(*f)); f->window_factor = 1; }
void vn_tcp_flight_done(struct vn_tcp_flight *f, struct vn_pool *pool) { while (f->first) { struct vn_tcp_sent *s = f->first; f->first = s->next; vn_pool_give(pool, s); } vn_tcp_flight_init(f); }
int vn_tcp_flight_sent(struct vn_tcp_flight *f, struct vn_pool *pool, uint64_t b, uint64_t e, uint64_t now) {
	struct vn_tcp_sent *s = vn_pool_take(pool); if (!s) return -ENOMEM;
	s->begin = b; s->end = e; s->sent_ns = now; s->previous = f->last; if (f->last) f->last->next = s; else f->first = s; f->last = s; f->bytes += (uint32_t)(e - b); f->count++; return 0; }
void vn_tcp_flight_acked(struct vn_tcp_flight *f, struct vn_pool *pool, uint64_t pos, uint64_t now, struct vn_tcp_arrival *a) {
	while (f->first && f->first->begin < pos) { struct vn_tcp_sent *s = f->first; uint64_t e = s->end < pos ? s->end : pos; uint32_t n = (uint32_t)(e - s->begin);
		f->bytes -= n; a->acked_bytes += n; if (s->lost) f->lost_bytes -= n; if (s->sacked) f->sacked_bytes -= n;
		if (!s->retransmitted) a->rtt_ns = now - s->sent_ns ? now - s->sent_ns : 1;
		s->begin = e; if (e < s->end) break; f->first = s->next; if (f->first) f->first->previous = NULL; else f->last = NULL; f->count--; vn_pool_give(pool, s); } }
void vn_tcp_flight_sacked(struct vn_tcp_flight *f, struct vn_pool *pool, uint64_t b, uint64_t e, uint64_t n, struct vn_tcp_arrival *a) { (void)f;(void)pool;(void)b;(void)e;(void)n;(void)a; }
void vn_tcp_flight_dsack(struct vn_tcp_flight *f, uint64_t u, uint64_t s) { (void)f;(void)u;(void)s; }
void vn_tcp_flight_recovered(struct vn_tcp_flight *f) { (void)f; }
uint32_t vn_tcp_flight_detect(struct vn_tcp_flight *f, uint64_t s, bool r, uint32_t m, uint64_t n, uint64_t *d) { (void)f;(void)s;(void)r;(void)m;(void)n; *d = UINT64_MAX; return 0; }
uint32_t vn_tcp_flight_lose_all(struct vn_tcp_flight *f) { for (struct vn_tcp_sent *s = f->first; s; s = s->next) if (!s->lost) { s->lost = true; f->lost_bytes += (uint32_t)(s->end - s->begin); } return f->lost_bytes; }
uint32_t vn_tcp_flight_lose_first(struct vn_tcp_flight *f, struct vn_pool *p, uint32_t m) { (void)f;(void)p;(void)m; return 0; }
void vn_tcp_flight_forget_sacks(struct vn_tcp_flight *f) { (void)f; }
void vn_tcp_flight_forgive(struct vn_tcp_flight *f) { for (struct vn_tcp_sent *s = f->first; s; s = s->next) s->lost = false; f->lost_bytes = 0; }
struct vn_tcp_sent *vn_tcp_flight_lost(const struct vn_tcp_flight *f) { for (struct vn_tcp_sent *s = f->first; s; s = s->next) if (s->lost) return s; return NULL; }
struct vn_tcp_sent *vn_tcp_flight_resent(struct vn_tcp_flight *f, struct vn_pool *pool, struct vn_tcp_sent *s, uint32_t len, uint64_t now) {
	if (len < s->end - s->begin) { struct vn_tcp_sent *r = vn_pool_take(pool); if (!r) return NULL; *r = *s; r->begin = s->begin + len; s->end = r->begin; r->previous = s; if (s->next) s->next->previous = r; else f->last = r; s->next = r; f->count++; }
	s->lost = false; f->lost_bytes -= len; s->retransmitted = true; s->sent_ns = now; return s; }
