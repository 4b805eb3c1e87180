"""File formats, one module each: conversion of bytes to arrays or tables."""
