#include "walk.h"

#include "../intern.h"
#include "../lines.h"
#include "../stack.h"

static PyObject *number_or_none(int64_t number)
{
    return number < 0 ? Py_NewRef(Py_None) : PyLong_FromLongLong(number);
}

static PyObject *place_tuple(int64_t line, int64_t end_line, int64_t column, int64_t end_column)
{
    return Py_BuildValue("(NNNN)", number_or_none(line), number_or_none(end_line), number_or_none(column),
                         number_or_none(end_column));
}

static int64_t signed_number(uint32_t number)
{
    return number == LW_NONE ? -1 : (int64_t)number;
}

static PyObject *decode(const char *text)
{
    return PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "surrogatepass");
}

static PyObject *frame_tuple(lw_intern *intern, uint32_t stack)
{
    lw_frame *frame = lw_intern_frame_at(intern, lw_intern_stack_at(intern, stack)->frame);
    lw_code *code = lw_intern_code_at(intern, frame->code);
    PyObject *place = place_tuple(signed_number(frame->line), signed_number(frame->end_line),
                                  signed_number(frame->column), signed_number(frame->end_column));
    PyObject *head = Py_BuildValue("(NN)", decode(code->file), decode(code->name));
    PyObject *whole = place == NULL || head == NULL ? NULL : PySequence_Concat(head, place);
    Py_XDECREF(place);
    Py_XDECREF(head);
    return whole;
}

static PyObject *stack_list(lw_intern *intern, uint32_t stack)
{
    PyObject *frames = PyList_New(0);
    for (; frames != NULL && stack != LW_NONE; stack = lw_intern_stack_at(intern, stack)->parent) {
        PyObject *frame = frame_tuple(intern, stack);
        if (frame == NULL || PyList_Append(frames, frame) < 0)
            Py_CLEAR(frames);
        Py_XDECREF(frame);
    }
    if (frames != NULL && PyList_Reverse(frames) < 0)
        Py_CLEAR(frames);
    return frames;
}

PyObject *lw_walk_here(void)
{
    static const lw_intern_limits limits = {.codes = 4096, .frames = 4096, .stacks = 4096, .text = 1 << 20};
    lw_intern *intern = NULL;
    lw_sampler *sampler = NULL;
    lw_thread_view view;
    lw_chain chain = {0};
    uint32_t stack;
    PyObject *frames = NULL;
    lw_status status = lw_intern_create(&intern, &limits);
    if (status == LW_OK)
        status = lw_sampler_create(&sampler, intern, 0);
    if (status == LW_OK) {
        lw_thread_view_take(&view, true);
        status = lw_sampler_take(sampler, &view, &chain, &stack);
    }
    if (status == LW_OK)
        frames = stack_list(intern, stack);
    else
        PyErr_Format(PyExc_RuntimeError, "the stack cannot be read (status %d)", (int)status);
    lw_chain_clear(&chain);
    lw_sampler_destroy(sampler);
    lw_intern_destroy(intern);
    return frames;
}

PyObject *lw_walk_place(PyObject *line_table, int first_line, unsigned unit)
{
    lw_place place;
    const uint8_t *bytes = (const uint8_t *)PyBytes_AsString(line_table);
    if (bytes == NULL)
        return NULL;
    size_t size = (size_t)PyBytes_GET_SIZE(line_table);
    if (lw_lines_find(bytes, size, first_line, unit, false, &place) != LW_OK) {
        PyErr_SetString(PyExc_ValueError, "this is no line table");
        return NULL;
    }
    return place_tuple(place.line, place.end_line, place.column, place.end_column);
}
