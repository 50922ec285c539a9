/* Words of a protocol that are looked up and compared for each request. GIL held. */
#ifndef LW_CPYTHON_WORDS_H
#define LW_CPYTHON_WORDS_H

#include <Python.h>

#include <stdbool.h>

/* Make `*word` the interned string of this text, for good. False with MemoryError. */
static inline bool lw_word(PyObject **word, const char *text)
{
    *word = PyUnicode_InternFromString(text);
    return *word != NULL;
}

/* Whether an object (NULL: none) is that string; as a rule it is the very same. */
static inline bool lw_is_word(PyObject *object, PyObject *word)
{
    return object == word ||
           (object != NULL && PyUnicode_Check(object) && PyUnicode_Compare(object, word) == 0);
}

#endif
