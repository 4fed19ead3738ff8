# OpenZFS 2.1 adds its assembly by CONFIG_X86_64, which User-mode Linux sets, and the C beside it by CONFIG_X86, which it does
# not: the modules then miss symbols and do not load.
s/\$\(CONFIG_X86\)/$(CONFIG_X86_64)/

# The flags of User-mode Linux rename these two functions, but only in C, and the Lua interpreter has them in assembly.
$ a\
asflags-y += -Dsetjmp=kernel_setjmp -Dlongjmp=kernel_longjmp
