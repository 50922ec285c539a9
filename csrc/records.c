#include "records.h"

#include <inttypes.h>
#include <stdio.h>

#include "os/clock.h"

static void begin(lw_json *json, const char *type)
{
    lw_json_raw(json, "{\"t\":\"");
    lw_json_raw(json, type);
    lw_json_raw(json, "\"");
}

static void end(lw_json *json)
{
    lw_json_raw(json, "}\n");
}

static void write_optional_member(lw_json *json, const char *name, uint32_t value)
{
    if (value == LW_NONE) {
        lw_json_null_member(json, name);
    } else {
        lw_json_number_member(json, name, value);
    }
}

void lw_record_header(lw_json *json, const lw_recorder_options *options, uint32_t part)
{
    begin(json, "header");
    lw_json_string_member(json, "schema", "loopwatch-recording/1");
    lw_json_number_member(json, "part", part);
    lw_json_number_member(json, "pid", options->pid);
    lw_json_number_member(json, "parent_pid", options->parent_pid);
    lw_json_number_member(json, "monotonic_ns", lw_clock_now());
    lw_json_number_member(json, "unix_ns", lw_clock_unix());
    if (options->header != NULL && options->header[0] != '\0') {
        lw_json_raw(json, ",");
        lw_json_raw(json, options->header);
    }
    end(json);
}

void lw_record_loop(lw_json *json, const lw_loop_record *loop)
{
    begin(json, "loop");
    lw_json_number_member(json, "loop", loop->loop);
    lw_json_string_member(json, "kind", loop->kind);
    lw_json_string_member(json, "poll", loop->poll);
    lw_json_string_member(json, "thread", loop->thread);
    lw_json_number_member(json, "tid", loop->thread_number);
    lw_json_number_member(json, "at", loop->at_ns);
    end(json);
}

void lw_record_code(lw_json *json, uint32_t id, const lw_code *code)
{
    begin(json, "code");
    lw_json_number_member(json, "id", id);
    lw_json_string_member(json, "file", code->file);
    lw_json_string_member(json, "name", code->name);
    lw_json_number_member(json, "first", code->first_line);
    end(json);
}

void lw_record_frame(lw_json *json, uint32_t id, const lw_frame *frame)
{
    begin(json, "frame");
    lw_json_number_member(json, "id", id);
    lw_json_number_member(json, "code", frame->code);
    write_optional_member(json, "line", frame->line);
    write_optional_member(json, "end_line", frame->end_line);
    write_optional_member(json, "col", frame->column);
    write_optional_member(json, "end_col", frame->end_column);
    end(json);
}

void lw_record_stack(lw_json *json, uint32_t id, const lw_stack *stack)
{
    begin(json, "stack");
    lw_json_number_member(json, "id", id);
    write_optional_member(json, "parent", stack->parent);
    lw_json_number_member(json, "frame", stack->frame);
    end(json);
}

static void write_known_member(lw_json *json, const char *name, bool known, uint64_t value)
{
    if (known) {
        lw_json_number_member(json, name, value);
    } else {
        lw_json_null_member(json, name);
    }
}

static void write_causes(lw_json *json, const uint64_t ns[LW_CAUSES])
{
    static const char *const names[] = {
        [LW_PYTHON] = "python", [LW_NATIVE] = "native", [LW_BLOCKED] = "blocked",
        [LW_GIL] = "gil",       [LW_GC] = "gc",         [LW_STARVED] = "starved",
    };
    bool first = true;

    lw_json_raw(json, ",\"causes\":{");
    for (int cause = 0; cause < LW_CAUSES; cause++) {
        if (ns[cause] > 0) {
            lw_json_raw(json, first ? "\"" : ",\"");
            lw_json_raw(json, names[cause]);
            lw_json_raw(json, "\":");
            lw_json_number(json, ns[cause]);
            first = false;
        }
    }
    lw_json_raw(json, "}");
}

static void write_cause(lw_json *json, const lw_cause_record *cause)
{
    write_causes(json, cause->tally.ns);
    lw_json_number_member(json, "gil_held", cause->tally.gil_held_ns);
    lw_json_number_member(json, "cpu", cause->cpu_ns);
    lw_json_number_member(json, "cpu_wall", cause->cpu_wall_ns);
    write_known_member(json, "run_delay", cause->delay_known, cause->run_delay_ns);
    write_known_member(json, "throttled", cause->throttled_known, cause->throttled_ns);
    lw_json_raw(json, ",\"holders\":[");
    for (size_t i = 0; i < cause->holder_count; i++) {
        const lw_holder_count *holder = &cause->holders[i];
        lw_json_raw(json, i == 0 ? "[" : ",[");
        if (holder->stack == LW_NONE) {
            lw_json_raw(json, "null");
        } else {
            lw_json_number(json, holder->stack);
        }
        lw_json_raw(json, ",");
        lw_json_number(json, holder->thread);
        lw_json_raw(json, ",");
        lw_json_number(json, holder->samples);
        lw_json_raw(json, "]");
    }
    lw_json_raw(json, "]");
    lw_json_number_member(json, "longest", cause->longest_ns);
}

void lw_record_thread(lw_json *json, const lw_holder_count *thread)
{
    begin(json, "thread");
    lw_json_number_member(json, "tid", thread->thread);
    lw_json_string_member(json, "name", thread->name);
    end(json);
}

static void write_stall(lw_json *json, const lw_stall_record *stall, const char *type, const char *end_name)
{
    begin(json, type);
    lw_json_number_member(json, "loop", stall->loop);
    lw_json_number_member(json, "iteration", stall->iteration.number);
    lw_json_number_member(json, "start", stall->iteration.start_ns);
    lw_json_number_member(json, end_name, stall->iteration.end_ns);
    lw_json_number_member(json, "callbacks", stall->iteration.callbacks);
    lw_json_number_member(json, "samples", stall->samples);
    lw_json_number_member(json, "torn", stall->torn);
    lw_json_number_member(json, "outer", stall->outer);
    lw_json_raw(json, ",\"stacks\":[");
    for (size_t i = 0; i < stall->stack_count; i++) {
        lw_json_raw(json, i == 0 ? "[" : ",[");
        lw_json_number(json, stall->stacks[i].stack);
        lw_json_raw(json, ",");
        lw_json_number(json, stall->stacks[i].samples);
        lw_json_raw(json, "]");
    }
    lw_json_raw(json, "]");
    lw_json_number_member(json, "omitted", stall->omitted);
    lw_json_raw(json, ",\"requests\":[");
    for (size_t i = 0; i < stall->request_count; i++) {
        lw_json_raw(json, i == 0 ? "[" : ",[");
        lw_json_number(json, stall->requests[i].request);
        lw_json_raw(json, ",");
        lw_json_number(json, stall->requests[i].samples);
        lw_json_raw(json, "]");
    }
    lw_json_raw(json, "]");
    if (stall->cause_known) {
        write_cause(json, &stall->cause);
    }
}

void lw_record_open(lw_json *json, const lw_stall_record *stall)
{
    write_stall(json, stall, "open", "at");
    end(json);
}

void lw_record_stall(lw_json *json, const lw_stall_record *stall)
{
    write_stall(json, stall, "stall", "end");
    lw_json_bool_member(json, "allowed", stall->iteration.allowed);
    end(json);
}

void lw_record_summary(lw_json *json, const lw_summary_record *summary)
{
    begin(json, "summary");
    lw_json_number_member(json, "loop", summary->loop);
    lw_json_number_member(json, "at", summary->at_ns);
    lw_json_bool_member(json, "running", summary->running);
    lw_json_number_member(json, "watched_ns", summary->watched_ns);
    lw_json_number_member(json, "busy_ns", summary->busy_ns);
    lw_json_number_member(json, "iterations", summary->iterations);
    lw_json_number_member(json, "stalls", summary->stalls);
    lw_json_number_member(json, "stalled_ns", summary->stalled_ns);
    lw_json_number_member(json, "longest_ns", summary->longest_ns);
    lw_json_number_member(json, "samples", summary->samples);
    lw_json_number_member(json, "torn", summary->torn);
    lw_json_number_member(json, "cut", summary->cut);
    lw_json_number_member(json, "outer", summary->outer);
    lw_json_number_member(json, "unsampled", summary->unsampled);
    lw_json_number_member(json, "lost", summary->lost);
    lw_json_number_member(json, "lost_ns", summary->lost_ns);
    lw_json_number_member(json, "sampling_ns", summary->sampling_ns);
    lw_json_number_member(json, "requests", summary->requests);
    lw_json_number_member(json, "requests_untracked", summary->requests_untracked);
    lw_json_raw(json, ",\"histogram\":[");
    for (int i = 0; i < LW_LOOP_HISTOGRAM; i++) {
        lw_json_raw(json, i == 0 ? "" : ",");
        lw_json_number(json, summary->histogram[i]);
    }
    lw_json_raw(json, "]");
    end(json);
}

void lw_record_delayed(lw_json *json, uint32_t loop, const lw_delayed *delayed)
{
    begin(json, "delayed");
    lw_json_number_member(json, "loop", loop);
    lw_json_number_member(json, "iteration", delayed->iteration);
    lw_json_number_member(json, "requests", delayed->requests);
    end(json);
}

void lw_record_request(lw_json *json, uint64_t number, const char *endpoint)
{
    begin(json, "request");
    lw_json_number_member(json, "request", number);
    if (endpoint[0] == '\0') {
        lw_json_null_member(json, "endpoint");
    } else {
        lw_json_string_member(json, "endpoint", endpoint);
    }
    end(json);
}

void lw_record_phase(lw_json *json, uint32_t loop, lw_phase phase, uint64_t at)
{
    static const char *const names[] = {
        [LW_PHASE_STARTUP] = "startup", [LW_PHASE_SERVING] = "serving", [LW_PHASE_SHUTDOWN] = "shutdown"};

    begin(json, "phase");
    lw_json_number_member(json, "loop", loop);
    lw_json_string_member(json, "phase", names[phase]);
    lw_json_number_member(json, "at", at);
    end(json);
}

void lw_record_reset(lw_json *json)
{
    begin(json, "reset");
    end(json);
}

void lw_record_dropped(lw_json *json, uint64_t records, uint64_t now)
{
    begin(json, "dropped");
    lw_json_number_member(json, "records", records);
    lw_json_number_member(json, "at", now);
    end(json);
}

void lw_record_dropped_fixed(lw_json *json, uint64_t records)
{
    char count[32];

    snprintf(count, sizeof count, "%-20" PRIu64, records); /* the longest there is */
    begin(json, "dropped");
    lw_json_raw(json, ",\"records\":");
    lw_json_raw(json, count);
    lw_json_number_member(json, "at", 0);
    end(json);
}

void lw_record_end(lw_json *json, uint64_t dropped, uint64_t now)
{
    begin(json, "end");
    lw_json_number_member(json, "at", now);
    lw_json_number_member(json, "dropped", dropped);
    end(json);
}
