/* How each record looks (docs/recording.md): one line of JSON each. No state, no I/O; what does not fit is
   for the caller to find in lw_json's `full`. */
#ifndef LW_RECORDS_H
#define LW_RECORDS_H

#include <stdbool.h>
#include <stdint.h>

#include "intern.h"
#include "json.h"
#include "recorder.h"

void lw_record_header(lw_json *json, const lw_recorder_options *options, uint32_t part);
void lw_record_loop(lw_json *json, const lw_loop_record *loop);
void lw_record_code(lw_json *json, uint32_t id, const lw_code *code);
void lw_record_frame(lw_json *json, uint32_t id, const lw_frame *frame);
void lw_record_stack(lw_json *json, uint32_t id, const lw_stack *stack);
void lw_record_thread(lw_json *json, const lw_holder_count *thread);
void lw_record_open(lw_json *json, const lw_stall_record *stall);
void lw_record_stall(lw_json *json, const lw_stall_record *stall);
void lw_record_summary(lw_json *json, const lw_summary_record *summary);
void lw_record_delayed(lw_json *json, uint32_t loop, const lw_delayed *delayed);
void lw_record_request(lw_json *json, uint64_t number, const char *endpoint);
void lw_record_phase(lw_json *json, uint32_t loop, lw_phase phase, uint64_t at);
void lw_record_reset(lw_json *json);
void lw_record_dropped(lw_json *json, uint64_t records, uint64_t now);
/* A `dropped` record to be written over later: it has the same length for any count, and no time. */
void lw_record_dropped_fixed(lw_json *json, uint64_t records);

void lw_record_end(lw_json *json, uint64_t dropped, uint64_t now);

#endif
