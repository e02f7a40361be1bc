"""`kd-jax completion`: a script with which a shell completes the words of the commands."""

from __future__ import annotations

import importlib

from kd_jax.commands.command_line import Parser, prog
from kd_jax.commands.main import COMMANDS

# of each subcommand the flags, of each flag what it may be set to; () for anything
_Flags = dict[str, dict[str, tuple[str, ...]]]
_TEXT = """Prints a script that completes subcommands, flags, names of configurations and keys.

  bash  eval "$(kd-jax completion bash)"    in ~/.bashrc
  zsh   eval "$(kd-jax completion zsh)"     in ~/.zshrc, after compinit
  fish  kd-jax completion fish > ~/.config/fish/completions/kd-jax.fish"""
# COMP_WORDBREAKS divides --name=value into three words
_BASH = """_kd_jax() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} flag=${{COMP_WORDS[COMP_CWORD-1]}} command=run found
  [[ $flag == = ]] && flag=${{COMP_WORDS[COMP_CWORD-2]}}
  [[ $word == = ]] && word=
  if (( COMP_CWORD > 1 )) && [[ " {commands} " == *" ${{COMP_WORDS[1]}} "* ]]; then
    command=${{COMP_WORDS[1]}}
  fi
  case "$command $flag" in
{values}
    *) case $command in
{flags}
      esac
      (( COMP_CWORD == 1 )) && found="{commands} $found" ;;
  esac
  COMPREPLY=($(compgen -W "$found" -- "$word"))
  [[ ${{COMPREPLY[0]}} == *= ]] && compopt -o nospace
}}
complete -o default -F _kd_jax kd-jax
"""
_ZSH = """_kd_jax() {{
  local word=$words[CURRENT] flag=$words[CURRENT-1] command=run found
  (( CURRENT > 2 )) && [[ " {commands} " == *" $words[2] "* ]] && command=$words[2]
  if [[ $word == --*=* ]]; then flag=${{word%%=*}}; compset -P '*='; fi
  case "$command $flag" in
{values}
    *) case $command in
{flags}
      esac
      (( CURRENT == 2 )) && found="{commands} $found" ;;
  esac
  local plain=(${{${{=found}}:#*=}}) open=(${{(M)${{=found}}:#*=}})
  compadd -- $plain
  compadd -S '' -- $open
  [[ -z $found || $word != -* ]] && _files
}}
compdef _kd_jax kd-jax
"""


def parser() -> Parser:
  """Return the arguments of the command."""
  made = Parser(prog('completion'), _TEXT)
  made.add_argument('shell', choices=('bash', 'zsh', 'fish'))
  return made


def main(arguments: list[str]) -> int:
  """Print a script; return the exit code."""
  shell = parser().parse_args(arguments).shell
  flags = _flags()
  print(_fish(flags) if shell == 'fish' else _script(_BASH if shell == 'bash' else _ZSH, flags))
  return 0


def _flags() -> _Flags:
  """Return the flags of each subcommand."""
  from kd_jax import config
  from kd_jax.commands import config_file

  flags = {}
  for name in COMMANDS:
    own = flags[name] = importlib.import_module(f'kd_jax.commands.{name}').parser().flags()
    if '--config' in own:
      own |= {f'--config.{key}': config.choices(key) for key in config.names()}
      own['--config'] = tuple(config_file.names())
  flags['completion'] |= dict.fromkeys(('bash', 'zsh', 'fish'), ())
  return flags


def _script(form: str, flags: _Flags) -> str:
  values, shown = [], []
  for name, own in flags.items():
    shown.append(f'      {name}) found="{" ".join(map(_open, own))}" ;;')
    for flag, choices in own.items():
      if choices:
        values.append(f'    "{name} {flag}") found="{" ".join(choices)}" ;;')
  return form.format(commands=' '.join(flags), values='\n'.join(values), flags='\n'.join(shown))


def _open(flag: str) -> str:
  """Return a flag as it is completed, with = where a value follows."""
  return flag if flag == '--help' or not flag.startswith('--') else f'{flag}='


def _fish(flags: _Flags) -> str:
  others = ' '.join(name for name in COMMANDS if name != 'run')
  lines = [
    f'complete -c kd-jax -n __fish_use_subcommand -a {name} -d "{purpose}"'
    for name, purpose in COMMANDS.items()
  ]
  for name, own in flags.items():
    within = f"'__fish_seen_subcommand_from {name}'"
    if name == 'run':
      within = f"'not __fish_seen_subcommand_from {others}'"
    for flag, choices in own.items():
      if not flag.startswith('--'):
        takes = f'-f -a {flag}'
      elif choices:
        takes = f"-l {flag[2:]} -x -a '{' '.join(choices)}'"
      else:
        takes = f'-l {flag[2:]}' if flag == '--help' else f'-l {flag[2:]} -r'
      lines.append(f'complete -c kd-jax -n {within} {takes}')
  return '\n'.join(lines)
